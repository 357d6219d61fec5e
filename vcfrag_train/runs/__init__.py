"""Run folders, checkpoints, provenance."""
