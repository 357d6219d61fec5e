"""The imputation command: inputs, checks, windows, output."""
