"""Attacks on certified predictions.

attack       searches for adversarial examples inside and outside a certified radius
pgd          projected gradient descent through noise; votes of an image with real-valued pixels
"""
