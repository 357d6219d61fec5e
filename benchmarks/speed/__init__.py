"""What one thing takes beside its baseline: `python -m benchmarks.speed`."""
