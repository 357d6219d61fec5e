"""From panel and daemon to batches."""
