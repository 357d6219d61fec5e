"""Decides once what a job does: its inputs, what depends on the cohort, and the chunks."""
