"""Checkpoints and networks.

registry       the folders with a model card below one root; no torch
checkpoint     reads and writes a checkpoint folder
architectures  networks by name
file_kinds     what a file is; published: the weights in it; onnx: ONNX files as networks
added          a file and the user's options to a checkpoint folder; checks: before it is added
"""
