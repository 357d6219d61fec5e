"""What the daemon does, below the wire."""
