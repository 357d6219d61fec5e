"""What is known of genomes beforehand: names of contigs, lengths and builds, pseudo-autosomal regions."""
