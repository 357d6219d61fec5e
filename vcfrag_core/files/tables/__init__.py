"""Genetic maps and tables: samples, splits, sites, QC."""
