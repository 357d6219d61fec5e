"""Reference panels: reading, the binary form and its cache."""
