"""Copying parameters fitted by leave-one-out on panel samples."""
