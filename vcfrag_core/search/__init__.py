"""Engines that need no wire: the compiled scan, the slow reference, and what they stand on."""
