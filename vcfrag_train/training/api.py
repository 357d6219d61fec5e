"""Training from Python: `fit` trains and returns the run folder, `validate` scores a run's best checkpoint."""

from vcfrag_train.training.session import fit, validate

__all__ = ["fit", "validate"]
