"""How cost grows: large panels, cohorts, jobs, and the daemon under load."""
