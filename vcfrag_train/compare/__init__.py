"""Imputation beside Beagle, Minimac4 and simpler retrieval."""
