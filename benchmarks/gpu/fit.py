"""A short training run of the whole-chromosome model on the device: seconds of a step, and the share spent waiting."""

from __future__ import annotations

import csv
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.development_tasks import default_data

CONFIG = """
seed = 1
epochs = {epochs}

[panel]
path = "{data}/1kg_chr20_0.06-2.29Mb_2404.bcf"
map = "{data}/chr20.b37.gmap.gz"

[split]
samples = "{data}/samples_2404.tsv"
exclude = "{data}/task_targets.txt"
validation_fraction = 0.02

[masks]
levels = [0.5, 0.6]
array_share = 0.3

[windows]
sites = 1020

[model]
width = 384
layers = 12
heads = 6
candidates = 24
learn_copying = {learn}

[optimiser]
learning_rate = 3e-4
batch_samples = 16
samples_per_visit = 64
visits_per_epoch = {visits}
warmup_steps = 20

[trainer]
accelerator = "gpu"
precision = "bf16-mixed"
checkpoint_steps = 1000
prefetch_batches = 16
prefetch_threads = 6
copying_threads = 2
copying_on_device = {on_device}
validation_samples = 8
validation_windows = 2
progress_seconds = 5

[daemon]
threads = 4
"""


def run(note: Callable[[str, Any], None], *, brief: bool) -> None:
    """Two epochs of 25 visits of four batches with copying trained, and of fewer without, by host and device."""
    measured(note, "copying trained, too", visits=25, learn=True)
    if not brief:
        measured(note, "copying as it is", visits=10, learn=False)
        measured(note, "copying as it is, on the device", visits=6, learn=False, on_device=True)


def measured(
    note: Callable[[str, Any], None], name: str, *, visits: int, learn: bool, on_device: bool = False, epochs: int = 2
) -> None:
    """Both epochs are told; the first compiles."""
    from vcfrag_train.training.config import load_config
    from vcfrag_train.training.session import fit

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.toml"
        data = os.environ.get("VCFRAG_DATA") or default_data()
        chosen = {"learn": str(learn).lower(), "on_device": str(on_device).lower()}
        file.write_text(CONFIG.format(data=data, visits=visits, epochs=epochs, **chosen))
        torch.cuda.reset_peak_memory_stats()
        begun = time.perf_counter()
        out = fit(load_config(file), Path(folder) / "run")
        taken = time.perf_counter() - begun
        with (out / "metrics.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        with (out / "steps.csv").open() as stream:
            steps = list(csv.DictReader(stream))
    kept = ("epoch", "train_loss", "waiting_share", "waiting_for_index_share", "samples_per_second", "half_model_r2")
    note(
        name,
        {
            "seconds": taken,
            "steps": len(steps),
            "memory_bytes": torch.cuda.max_memory_allocated(),
            "epochs": [{key: row.get(key) for key in row if key in kept or "second" in key} for row in rows],
        },
    )
