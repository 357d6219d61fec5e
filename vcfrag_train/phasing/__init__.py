"""`vcfrag phase` from files to a file."""
