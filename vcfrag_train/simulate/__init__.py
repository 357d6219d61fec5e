"""Generated panels and targets."""
