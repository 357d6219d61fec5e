"""Accuracy beside Beagle and Minimac4, on real and generated data."""
