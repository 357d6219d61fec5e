"""Which sample and window comes next."""
