"""Records of imputed genotypes and their INFO."""
