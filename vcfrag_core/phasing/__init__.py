"""Phase of unphased genotypes: copying by both haplotypes of a sample at once, and draws from its posterior."""
