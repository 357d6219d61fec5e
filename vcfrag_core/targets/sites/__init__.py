"""Typed sites against the panel: which site a record is, how it is coded, and what speaks against it."""
