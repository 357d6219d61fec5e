"""Chunks: imputed one by one, kept in a file each, and joined into the records of a window."""
