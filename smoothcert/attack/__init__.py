"""Attacks on certified predictions.

attack       searches for adversarial examples inside and outside a certified radius
bare         the smallest perturbation that changes the class of the network without noise
pgd          projected gradient descent through noise; votes of an image with real-valued pixels
"""
