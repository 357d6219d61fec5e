"""The reference panel: haplotype bits, genetic map, windows, splits."""
