"""The index daemon: exact nearest reference haplotypes under one mask and one metric, over gRPC."""
