"""The noise, and the sampler that has noisy copies classified.

normal   the normal distribution in 50 digits, and how far the drawn noise is from it
grid     Gaussian noise on the pixel grid: exact probabilities, and a random stream for each batch
sampler  the votes of one image: draws noise, has an engine classify, counts classes
"""
