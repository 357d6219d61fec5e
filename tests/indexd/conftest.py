"""What the daemon's tests share: an index described from a panel, and its queries, in the forms that both sides use."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.keys import haplotype_keys
from vcfrag_core.panel.panel import Panel, panel_digest
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval import site_weights
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import SegmentLayout, layout_for
from vcfrag_core.retrieval.queries import EXTERNAL, External, QueryBlock
from vcfrag_core.search.engine import IndexSource, SearchTask
from vcfrag_core.types import BoolArray, F32Array, I8Array
from vcfrag_proto.v1 import index_pb2 as pb

PATIENCE_SECONDS = 90.0
COMMAND = (sys.executable, "-m", "vcfrag_indexd.cli.app")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Described:
    """All that a client knows of an index, and the arrays that the engine is given for it."""

    panel: Panel
    split: Split
    layout: SegmentLayout
    observed: BoolArray
    weights: F32Array

    @property
    def identity(self) -> Identity:
        digest = panel_digest(self.panel)
        return Identity.of(digest, split=self.split, observed=self.observed, weights=self.weights, layout=self.layout)

    def opening(self) -> dict[str, Any]:
        """Arguments of `IndexClient.open_index`."""
        return {
            "panel_name": "panel",
            "identity": self.identity,
            "split": self.split,
            "layout": self.layout,
            "observed": self.observed,
            "weights": self.weights,
        }

    def source(self, handle: str = "index") -> IndexSource:
        rows = np.sort(self.panel.rows_of(self.split.reference)).astype(np.int32)
        return IndexSource(
            handle=handle,
            panel_name="panel",
            bits=self.panel.bits,
            rows=rows,
            keys=haplotype_keys(self.panel)[rows],
            observed=self.observed,
            steps=site_weights.steps(self.weights),
            layout=self.layout,
        )

    def block(
        self, alleles: I8Array, samples: Sequence[str | External] | None = None, start: int = 0, stop: int | None = None
    ) -> QueryBlock:
        """Queries with alleles (Q, V) over sites [start, stop); EXTERNAL unless named."""
        stop = self.panel.n_sites if stop is None else stop
        return QueryBlock(
            start=start,
            stop=stop,
            samples=tuple(samples) if samples is not None else (EXTERNAL,) * len(alleles),
            observed=self.observed[start:stop],
            alleles=np.ascontiguousarray(alleles[:, start:stop]),
        )

    def own(self, names: Sequence[str], start: int = 0, stop: int | None = None) -> QueryBlock:
        """Both haplotypes of panel samples as queries."""
        alleles = self.panel.haplotypes(self.panel.rows_of(names)).astype(np.int8)
        return self.block(alleles, [name for name in names for _ in range(2)], start, stop)

    def task(self, block: QueryBlock, k: int) -> SearchTask:
        """The block as an engine is given it."""
        source = self.source()
        alleles = block.alleles[:, block.observed]
        excluded = [self._excluded(who, source.rows) for who in block.samples]
        return SearchTask(
            start=block.start,
            stop=block.stop,
            k=k,
            alleles=(alleles == 1).astype(np.uint8),
            called=(alleles >= 0).astype(np.uint8),
            excluded=np.concatenate([*excluded, np.zeros(0, dtype=np.int64)]).astype(np.int64),
            excluded_starts=np.cumsum([0, *(len(rows) for rows in excluded)]).astype(np.int64),
        )

    def request(self, handle: str, block: QueryBlock, k: int = 3) -> pb.SearchRequest:
        """A valid SearchRequest, to be spoiled by tests."""
        called = block.observed & (block.alleles >= 0)
        return pb.SearchRequest(
            handle=handle,
            identity=pb.Identity(**dataclasses.asdict(self.identity)),
            start=block.start,
            stop=block.stop,
            k=k,
            samples=[
                pb.QuerySample(name=who) if isinstance(who, str) else pb.QuerySample(external=True)
                for who in block.samples
            ],
            observed=bit.pack(called).tobytes(),
            missing=bit.pack(block.observed & (block.alleles < 0)).tobytes(),
            alleles=bit.pack(called & (block.alleles == 1)).tobytes(),
        )

    def open_request(self) -> pb.OpenIndexRequest:
        """A valid OpenIndexRequest, to be spoiled by tests."""
        return pb.OpenIndexRequest(
            panel="panel",
            identity=pb.Identity(**dataclasses.asdict(self.identity)),
            split=pb.Split(
                name=self.split.name,
                reference=self.split.reference,
                held_out=self.split.held_out,
                groups=dict(self.split.groups),
            ),
            layout=pb.Layout(
                n_sites=self.layout.n_sites, lengths=self.layout.lengths, min_observed=self.layout.min_observed
            ),
            observed=bit.pack(self.observed).tobytes(),
            weights=self.weights.tobytes(),
        )

    def _excluded(self, who: str | External, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if not isinstance(who, str):
            return np.zeros(0, dtype=np.int64)
        group = self.split.groups.get(who)
        mine = [name for name in self.split.reference if self.split.groups[name] == group]
        return np.searchsorted(rows, np.sort(self.panel.rows_of(mine))) if mine else np.zeros(0, dtype=np.int64)


def describe(
    panel: Panel,
    *,
    density: float = 0.5,
    wanted: Sequence[int] = (8, 32),
    seed: int = 3,
    held_out: int = 0,
    families: int = 0,
    weights: F32Array | None = None,
    min_observed: int = 4,
) -> Described:
    """An index over a panel: a random mask, equal weights unless given, the first `held_out` samples held out,
    and the next `families` pairs of samples of one family each."""
    rng = np.random.default_rng(seed)
    observed = rng.random(panel.n_sites) < density
    names = panel.samples
    groups = {name: name for name in names}
    for i in range(families):
        for name in names[held_out + 2 * i : held_out + 2 * i + 2]:
            groups[name] = f"family{i}"
    return Described(
        panel=panel,
        split=Split(name="train", reference=names[held_out:], held_out=names[:held_out], groups=groups),
        layout=layout_for(observed, wanted, min_observed=min_observed),
        observed=observed,
        weights=site_weights.quantise(np.full(panel.n_sites, np.log(999.0)) if weights is None else weights),
    )


@pytest.fixture(scope="session")
def described() -> Callable[..., Described]:
    """The function `describe`."""
    return describe


@pytest.fixture
def index(panel: Panel) -> Described:
    """20 samples, 200 sites, half of them observed, two held out and one family."""
    return describe(panel, held_out=2, families=1)


class Process:
    """`vcfrag-indexd serve` as a child process, its log lines at hand."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None, descriptors: int | None = None) -> None:
        limited = () if descriptors is None else ("sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh")
        self.process = subprocess.Popen(
            [*limited, *COMMAND, "serve", "--log-format", "json", "--threads", "1", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str, after: int = 0) -> re.Match[str]:
        """The first match in a line, of those after the first `after`."""
        limit = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < limit:
            for line in self.lines[after:]:
                found = re.search(pattern, line)
                if found:
                    return found
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.01)
        raise AssertionError(f"no line like {pattern!r} in {self.lines}")

    @property
    def address(self) -> str:
        return self.wait_for(r'"address": "([0-9.:]+)"')[1]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.code()

    def code(self) -> int:
        """The exit code, once it has one."""
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(10)
        self.process.stderr.close()
        return code

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started = []

    def run(*arguments: str) -> Process:
        quick = {"VCFRAG_INDEXD_DRAIN__SETTLE_SECONDS": "0.1", "VCFRAG_CACHE_DIR": str(tmp_path / "cache")}
        started.append(Process(*arguments, env=quick))
        return started[-1]

    yield run
    for process in started:
        process.stop(signal.SIGKILL)


@pytest.fixture
def panel_file(panel: Panel, tmp_path: Path) -> Path:
    """The panel as an uncompressed VCF."""
    lines = [
        "##fileformat=VCFv4.2",
        f"##contig=<ID={panel.contig}>",
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="">',
    ]
    lines.append("\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *panel.samples]))
    alleles = panel.haplotypes()
    for v in range(panel.n_sites):
        calls = [f"{alleles[2 * s, v]}|{alleles[2 * s + 1, v]}" for s in range(panel.n_samples)]
        fixed = [panel.contig, str(panel.positions[v]), ".", panel.refs[v], panel.alts[v], ".", ".", ".", "GT"]
        lines.append("\t".join([*fixed, *calls]))
    path = tmp_path / "panel.vcf"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def wait_until(holds: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < limit, f"never happened: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], bool], str], None]:
    """A function (holds, what) that waits until holds() is true, and fails naming `what` after a long time."""
    return wait_until
