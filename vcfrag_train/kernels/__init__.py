"""Kernels compiled before any job needs them."""
