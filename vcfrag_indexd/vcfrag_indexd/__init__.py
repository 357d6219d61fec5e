"""vcfrag-indexd: the daemon that builds, holds and searches haplotype indexes per split and per mask."""

__version__ = "0.1.0"
