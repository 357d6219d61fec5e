"""VCF and BCF: headers, records, block compression, indexes, wholeness."""
