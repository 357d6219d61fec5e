"""The contract between vcfrag-indexd and its clients: generated messages and stubs, and the status tables."""
