"""Training: what a batch is, where it comes from, and how a run goes on after a kill as if nothing had happened."""
