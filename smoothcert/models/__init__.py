"""Checkpoints and networks.

registry       the folders with a model card below one root; no torch
checkpoint     reads and writes a checkpoint folder
architectures  networks by name
"""
