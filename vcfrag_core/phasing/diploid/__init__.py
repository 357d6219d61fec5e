"""Diploid copying: pairs of candidates explain the genotypes of one sample, compiled, and slowly over all pairs."""
