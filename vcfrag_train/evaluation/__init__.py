"""Accuracy of imputed files: tables, plots, report."""
