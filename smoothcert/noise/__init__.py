"""The noise, and the sampler that has noisy copies classified.

table        Gaussian noise on the pixel grid, with exactly computed probabilities
streams      random streams: batch i of a stage is a function of (seed, stage, i)
sampler      the votes of one image: draws noise, has an engine classify, counts classes
"""
