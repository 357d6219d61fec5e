"""Genomes and cohorts: planned once, imputed in chunks anywhere, and merged."""
