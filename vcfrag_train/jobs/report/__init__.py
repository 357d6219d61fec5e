"""A page of a job, made from what its chunks keep."""
