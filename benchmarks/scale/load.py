"""Searches a second from daemons that run already, with 1, 4, 16 and 64 clients, in turn.

    python -m benchmarks.scale.load --panel panel.vcf.gz                   # writes the panel, if it is not there
    vcfrag-indexd serve --panel panel=panel.vcf.gz --listen 127.0.0.1:50510 --threads 2     # of one version
    vcfrag-indexd serve --panel panel=panel.vcf.gz --listen 127.0.0.1:50520 --threads 2     # of another
    python -m benchmarks.scale.load --panel panel.vcf.gz before=127.0.0.1:50510 after=127.0.0.1:50520

A search is 16 queries x 2,000 sites, k = 16, 39 segments, 2,000 haplotypes. Every daemon is asked in every round, and
ratios are of one round, since the machine does other work. On this machine's daemons CPU time is told, too. The share
of the time in which the engine computes tells what a daemon itself costs, however busy the machine is.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import psutil

from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.panel import bits as bit
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split import Split
from vcfrag_core.retrieval.identity import Identity
from vcfrag_core.retrieval.layout import SegmentLayout
from vcfrag_core.retrieval.site_weights import quantise
from vcfrag_proto.v1 import index_pb2 as pb
from vcfrag_proto.v1 import index_pb2_grpc as rpc
from vcfrag_train.simulate.files import write_phased_vcf

CLIENTS = (1, 4, 16, 64)
N_HAPLOTYPES, N_SITES, N_QUERIES, K = 2000, 2000, 16, 16
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 2**26))
SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Round:
    """What one daemon did in a few seconds."""

    rate: float
    p99_ms: float
    cpu_ms: float
    busy: float


class Target:
    """A daemon, with a connection for every client."""

    def __init__(self, address: str, panel: Panel) -> None:
        self.stubs = [rpc.IndexStub(grpc.insecure_channel(address, OPTIONS)) for _ in range(max(CLIENTS))]
        self.process = _process_at(int(address.rpartition(":")[2]))
        self.request = _request(self.stubs[0], panel)
        self.stubs[0].Search(self.request, timeout=SECONDS)

    def measure(self, n_clients: int, seconds: float) -> Round:
        latencies: list[float] = []
        searching: list[float] = []
        begun, cpu = time.perf_counter(), self._cpu_seconds()

        def work(stub: rpc.IndexStub) -> None:
            while (before := time.perf_counter()) < begun + seconds:
                reply = stub.Search(self.request, timeout=SECONDS)
                latencies.append(time.perf_counter() - before)
                searching.append(reply.search_seconds)

        threads = [threading.Thread(target=work, args=(stub,)) for stub in self.stubs[:n_clients]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        n, took = len(latencies), time.perf_counter() - begun
        p99 = float(np.percentile(latencies, 99))
        return Round(n / took, 1000 * p99, 1000 * (self._cpu_seconds() - cpu) / n, sum(searching) / took)

    def _cpu_seconds(self) -> float:
        return float("nan") if self.process is None else sum(self.process.cpu_times()[:2])


def _process_at(port: int) -> psutil.Process | None:
    found = [c.pid for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port]
    return psutil.Process(found[0]) if found and found[0] else None


def _request(stub: rpc.IndexStub, panel: Panel) -> pb.SearchRequest:
    observed = np.random.default_rng(2).random(panel.n_sites) < 0.5
    layout, weights = SegmentLayout(n_sites=panel.n_sites, lengths=(100,)), quantise(np.full(panel.n_sites, 6.9))
    split = Split(name="load", reference=panel.samples, groups={name: name for name in panel.samples})
    stated = Identity.of(panel.digest, split=split, observed=observed, weights=weights, layout=layout)
    identity = pb.Identity(**dataclasses.asdict(stated))
    opened = stub.OpenIndex(
        pb.OpenIndexRequest(
            panel="panel",
            identity=identity,
            split=pb.Split(name=split.name, reference=split.reference, groups=dict(split.groups)),
            layout=pb.Layout(n_sites=layout.n_sites, lengths=layout.lengths, min_observed=layout.min_observed),
            observed=bit.pack(observed).tobytes(),
            weights=weights.tobytes(),
        ),
        timeout=SECONDS,
    )
    rows = np.arange(N_QUERIES) * 7
    return pb.SearchRequest(
        handle=opened.handle,
        identity=identity,
        start=0,
        stop=panel.n_sites,
        k=K,
        samples=[pb.QuerySample(name=panel.samples[row // 2]) for row in rows],
        observed=np.tile(bit.pack(observed), (N_QUERIES, 1)).tobytes(),
        alleles=bit.pack(panel.haplotypes(rows).astype(np.bool_) & observed).tobytes(),
    )


def _panel(path: Path) -> Panel:
    if not path.exists():
        haplotypes = np.random.default_rng(1).integers(0, 2, size=(N_HAPLOTYPES, N_SITES))
        write_phased_vcf(Panel.from_haplotypes(haplotypes), path)
    return load_panel(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panel", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("daemons", nargs="*", metavar="NAME=HOST:PORT")
    options = parser.parse_args()
    panel = _panel(options.panel)
    targets = {name: Target(address, panel) for name, _, address in (d.partition("=") for d in options.daemons)}
    print(
        "| clients | daemon | searches/s | p99, ms | CPU ms a search | engine busy | searches/s, ratio | CPU, ratio |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for n_clients in CLIENTS if targets else ():
        rounds: dict[str, list[Round]] = {name: [] for name in targets}
        for i in range(options.rounds):
            for name in list(targets)[:: 1 if i % 2 else -1]:
                rounds[name].append(targets[name].measure(n_clients, options.seconds))
        first = rounds[next(iter(targets))]
        for name, mine in rounds.items():
            rate, p99, cpu, busy = (np.median([getattr(r, f.name) for r in mine]) for f in dataclasses.fields(Round))
            ratios = [a.rate / b.rate for a, b in zip(mine, first, strict=True)]
            cpus = [a.cpu_ms / b.cpu_ms for a, b in zip(mine, first, strict=True)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            figures = f"{rate:.0f} | {p99:.0f} | {cpu:.2f} | {busy:.2f}"
            print(f"| {n_clients} | {name} | {figures} | {np.median(ratios):.2f} ({spread}) | {np.median(cpus):.2f} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
