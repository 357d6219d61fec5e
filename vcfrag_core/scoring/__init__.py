"""Accuracy by allele frequency, bootstrap intervals, reliability."""
