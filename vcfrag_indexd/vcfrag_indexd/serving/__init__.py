"""The daemon itself: its rpcs, health, reflection, ports, and what makes it ready."""
