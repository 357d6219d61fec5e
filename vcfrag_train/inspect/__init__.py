"""Looking at runs, models and masks."""
