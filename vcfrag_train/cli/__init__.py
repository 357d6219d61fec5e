"""The command line: what all commands share, and `commands`, one module each."""
