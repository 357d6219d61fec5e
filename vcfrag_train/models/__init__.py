"""Trained models: loading, exporting, choosing."""
