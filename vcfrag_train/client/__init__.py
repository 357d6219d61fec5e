"""The daemon's client, and daemons that a command starts."""
