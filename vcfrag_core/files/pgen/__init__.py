"""Writes PLINK 2 files."""
