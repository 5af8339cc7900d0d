"""Attacks on certified predictions.

attack       searches for adversarial examples inside and outside a certified radius
pgd          projected gradient descent through noise
real_inputs  votes of an image with real-valued pixels
"""
