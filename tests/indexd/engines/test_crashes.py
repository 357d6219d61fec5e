"""kill -9 of the daemon again and again under a client that goes on: not one batch differs."""

from __future__ import annotations

import dataclasses
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vcfrag_core.retrieval.queries import QueryBlock
from vcfrag_indexd.testing import serve
from vcfrag_train.client.client import IndexClient


def batches(index, n: int) -> list[QueryBlock]:
    """Batches of an epoch: windows and samples that change from one to the next."""
    names = index.split.reference
    return [
        index.own([names[i % len(names)], names[(i * 7 + 1) % len(names)]], 10 * (i % 8), 120 + 10 * (i % 8))
        for i in range(n)
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def epoch_under_fire(start: Callable, panel_file: Path, index, n: int, every: int) -> tuple[list[np.ndarray], int]:
    """The ids of every batch, with a kill -9 before each `every`-th; and how often it was killed."""
    address, kills, found = f"127.0.0.1:{free_port()}", 0, []
    arguments = ("--panel", f"panel={panel_file}", "--listen", address)
    daemon = start(*arguments)
    with IndexClient(address, timeout_seconds=90) as client:
        opened = client.open_index(**index.opening())
        for i, block in enumerate(batches(index, n)):
            if i % every == every - 1:
                daemon.stop(signal.SIGKILL)
                daemon = start(*arguments)
                kills += 1
            found.append(client.search(opened, block, 5).ids)
    return found, kills


def undisturbed(index, n: int) -> list[np.ndarray]:
    with serve({"panel": index.panel}) as daemon, IndexClient(daemon.address) as client:
        opened = client.open_index(**index.opening())
        return [client.search(opened, block, 5).ids for block in batches(index, n)]


def test_daemon__killed_in_the_middle_of_an_epoch_changes_no_batch(start, panel_file: Path, index) -> None:
    found, kills = epoch_under_fire(start, panel_file, index, n=12, every=5)
    assert kills == 2
    assert all(np.array_equal(a, b) for a, b in zip(found, undisturbed(index, 12), strict=True))


@pytest.mark.soak
def test_daemon__killed_twenty_five_times_changes_no_batch(start, panel_file: Path, index) -> None:
    found, kills = epoch_under_fire(start, panel_file, index, n=250, every=10)
    assert kills == 25
    assert all(np.array_equal(a, b) for a, b in zip(found, undisturbed(index, 250), strict=True))


def test_daemon__a_restart_with_other_content_under_the_same_name_is_never_used(start, panel_file, index) -> None:
    from vcfrag_core.errors import PanelMismatchError

    address = f"127.0.0.1:{free_port()}"
    arguments = ("--panel", f"panel={panel_file}", "--listen", address)
    daemon = start(*arguments)
    with IndexClient(address, timeout_seconds=90) as client:
        opened = client.open_index(**index.opening())
        block = batches(index, 1)[0]
        client.search(opened, block, 5)
        daemon.stop(signal.SIGKILL)
        lines = panel_file.read_text().splitlines()
        flipped = {"0|0": "1|1", "1|1": "0|0", "0|1": "1|0", "1|0": "0|1"}
        last = lines[-1].split("\t")
        lines[-1] = "\t".join([*last[:9], *(flipped[call] for call in last[9:])])
        panel_file.write_text("\n".join(lines) + "\n")
        start(*arguments)
        with pytest.raises(PanelMismatchError):
            client.search(opened, dataclasses.replace(block), 5)
