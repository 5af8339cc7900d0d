"""Attacks on certified predictions: projected gradient descent through noise."""
