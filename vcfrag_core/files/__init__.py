"""The one place that touches the disk: VCF and BCF, the panel cache, genetic maps, sample tables."""
