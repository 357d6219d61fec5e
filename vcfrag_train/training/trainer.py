"""Lightning's trainer as this project uses it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import lightning
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.strategies import DDPStrategy, Strategy

from vcfrag_train.training.config import FitConfig

_LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero", "lightning")


def make_trainer(config: FitConfig, start_epoch: int) -> lightning.Trainer:
    """A trainer for the epochs that are left; loaders are asked for anew in every epoch."""
    trainer, optimiser = config.trainer, config.optimiser
    with quiet():
        return lightning.Trainer(
            accelerator=trainer.accelerator,
            devices=trainer.devices,
            num_nodes=trainer.nodes,
            strategy=_strategy(config),
            precision=trainer.precision,
            max_epochs=config.epochs - start_epoch,
            accumulate_grad_batches=optimiser.accumulate_batches,
            gradient_clip_val=optimiser.clip_norm or None,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            inference_mode=True,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )


def early_stopping(config: FitConfig) -> list[EarlyStopping]:
    """The callback that ends a run without improvement, if one is wanted."""
    trainer = config.trainer
    if not trainer.patience_epochs:
        return []
    return [
        EarlyStopping(
            monitor=trainer.monitor,
            mode=trainer.monitor_mode,
            patience=trainer.patience_epochs,
            check_finite=False,
            check_on_train_epoch_end=False,
        )
    ]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps Lightning's advice on things that are as they are on purpose off the terminal."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"lightning\..*")
            # Lightning's own use of a part of torch that newer versions call otherwise.
            warnings.filterwarnings("ignore", category=FutureWarning, message=r".*LeafSpec.*")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _strategy(config: FitConfig) -> Strategy | str:
    if config.trainer.devices * config.trainer.nodes == 1:
        return "auto"
    return DDPStrategy()
