"""The sampler at a thousand million items."""

from __future__ import annotations

import tracemalloc

from benchmarks.figures import Figure, Topic, seconds
from vcfrag_core.sampling.sampler import SamplerConfig, WindowGroupedSampler

ITEMS = 10**9
READ = 1_000_000


def run(*, quick: bool) -> Topic:
    """Construction, and the first batch, of 10^9 items."""
    config = SamplerConfig(n_samples=ITEMS // 1000, n_windows=1000, batch_size=64)
    built = seconds(lambda: WindowGroupedSampler(config), repeats=20)
    first = seconds(lambda: next(iter(WindowGroupedSampler(config))), repeats=3)
    read = READ // (10 if quick else 1)
    every = seconds(lambda: [config.sample_and_window(item) for item in range(read)], repeats=1) * (ITEMS / read)
    tracemalloc.start()
    WindowGroupedSampler(config)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Topic(
        figures=[
            Figure(
                name="construct a sampler of 10^9 items",
                value=built,
                unit="s",
                baseline=f"looking at every item, measured on {read} of them and scaled",
                baseline_value=every,
                goal="< 1 ms",
                most=1e-3,
            ),
            Figure(name="memory of that sampler", value=held, unit="bytes", goal="O(1): < 64 KiB", most=65_536),
            Figure(name="its first batch of 64", value=first, unit="s"),
        ],
        curve=[_point(10**n) for n in range(4, 10)],
    )


def _point(n_items: int) -> dict[str, float]:
    config = SamplerConfig(n_samples=n_items // 1000, n_windows=1000, batch_size=64)
    return {"items": n_items, "construct_seconds": seconds(lambda: WindowGroupedSampler(config), repeats=20)}
