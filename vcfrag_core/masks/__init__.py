"""Mask policies, their draws, and the training curriculum."""
