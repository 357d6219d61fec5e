"""The demonstration on a generated panel."""
