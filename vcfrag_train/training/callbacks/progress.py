"""Lines of progress: loss, r², samples a second, and the share of time spent waiting for the index."""

from __future__ import annotations

import math
import sys
import time
from typing import Any, TextIO

import lightning
from lightning.pytorch.callbacks import Callback

from vcfrag_train.training.callbacks.recorder import Recorder
from vcfrag_train.training.data.loaders import FitData
from vcfrag_train.training.data.source import PreparedBatch


class Progress(Callback):
    """Writes a line every few seconds and one at every epoch's end.

    Args:
        data: The loaders.
        recorder: Knows the scores.
        every_seconds: Least time between lines; 0 for none.
        to: Where the lines go; stderr unless given.
    """

    def __init__(self, data: FitData, recorder: Recorder, every_seconds: float, to: TextIO | None = None) -> None:
        self._data = data
        self._recorder = recorder
        self._every = every_seconds
        self._to = to
        self._last = -math.inf
        self._samples = 0
        self._started = time.monotonic()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._samples = 0
        self._started = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: PreparedBatch, batch_idx: int
    ) -> None:
        self._samples += len(batch.plan.samples)
        now = time.monotonic()
        if now - self._last >= self._every and self._speaks(trainer):
            self._last = now
            totals = self._recorder.totals
            self._say(
                f"epoch {batch.plan.epoch} [{batch.plan.position + 1}/{len(self._data.plan)}] "
                f"step {pl_module.step} loss {totals.loss / max(1, totals.batches):.4f} "
                f"r² {totals.sums.r2('all'):.4f} {self._samples / max(now - self._started, 1e-9):.1f} samples/s "
                f"waiting {100 * self._data.clock.share:.1f} % (index {100 * self._data.clock.index_share:.1f} %)"
            )

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if not self._speaks(trainer):
            return
        row = self._recorder.last_row
        self._say(
            f"epoch {row['epoch']} done: loss {row['train_loss']:.4f}; r² half "
            f"{_of(row, 'half')}; array {_of(row, 'array')}; waiting {100 * row['waiting_share']:.1f} % "
            f"(index {100 * row['waiting_for_index_share']:.1f} %)"
        )

    def _speaks(self, trainer: lightning.Trainer) -> bool:
        return self._every > 0 and trainer.is_global_zero

    def _say(self, line: str) -> None:
        print(line, file=self._to or sys.stderr, flush=True)


def _of(row: dict[str, float | int], mask: str) -> str:
    names = {"model": "model", "copying": "copying", "random": "random neighbours"}
    return ", ".join(f"{word} {row.get(f'{mask}_{who}_r2', math.nan):.4f}" for who, word in names.items())
