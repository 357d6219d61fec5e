"""Writes BGEN."""
