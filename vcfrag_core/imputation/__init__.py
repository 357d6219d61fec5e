"""Imputation of haplotypes, and the trained model at work in it."""
