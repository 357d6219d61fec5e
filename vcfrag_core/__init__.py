"""Retrieval-augmented genotype imputation: the pure library.

Arrays in, arrays out. Only `vcfrag_core.files` touches the disk; nothing here
imports grpc or faiss, reads a clock, or uses global random state. Modules that
need torch (`embedding`, `copying_layer`, `copying_triton`, `model`, `losses`)
or Triton (`copying_triton`, `copying_triton_kernels`) are never imported from
here, so that a process without them can use the rest.

Axis letters, used in every docstring of the project:

    V  variants (sites) of the panel's contig, or of the stated range
    H  haplotypes; haplotype h belongs to sample h // 2
    S  samples
    Q  query haplotypes
    G  segments of a search
    K  neighbours of a segment, or states (candidates) of a query
    M  observed sites of a context
    B  batch
    L  sites of a window
    D  embedding width

Codes: allele 0 REF, 1 ALT, -1 missing. Positions are 1-based as in VCF, site
indices are 0-based and half-open. Genetic distance is in centimorgan.
"""
