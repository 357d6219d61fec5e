"""`vcfrag run-chunk`: imputes chunks of a job."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vcfrag_core.errors import ConfigError


def parse_numbers(words: Sequence[str]) -> list[range]:
    """Ranges of chunk numbers from `4`, and from `0-3`, which has both ends.

    Raises:
        ConfigError: A word is neither.
    """
    numbers = []
    for word in words:
        found = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", word)
        if found is None or (found[2] is not None and int(found[2]) < int(found[1])):
            raise ConfigError(f"{word!r}: name chunks by their numbers, or by ranges such as 0-3, which has both ends")
        numbers.append(range(int(found[1]), int(found[2] or found[1]) + 1))
    return numbers


def command(
    manifest: Annotated[Path, typer.Argument(help="Manifest, as `plan` writes it.")],
    numbers: Annotated[
        list[str], typer.Argument(metavar="N...", help="Which chunks, from 0: numbers, or ranges such as 0-3.")
    ],
    threads: Annotated[int, typer.Option(help="Threads that search and copy.")] = 1,
) -> None:
    """Imputes chunks of a job; those that are there and whole are left alone."""
    from vcfrag_core.files.atomic import remove_left_behind
    from vcfrag_core.memory import collect_seldom
    from vcfrag_train.jobs.manifest import job_folder
    from vcfrag_train.jobs.worker import Worker
    from vcfrag_train.reporter import telling_interrupted

    collect_seldom()
    chosen = parse_numbers(numbers)
    worker = Worker(manifest, threads)
    # Before hours of work on the others.
    worker.require([end for some in chosen for end in (some[0], some[-1])])
    total, n_done = sum(map(len, chosen)), 0

    def kept() -> str:
        remove_left_behind(job_folder(manifest) / "chunks")
        return f": {n_done} of {total} chunks are done, and kept; the same command goes on with the others"

    with telling_interrupted(functools.partial(typer.echo, err=True), kept):
        for number in itertools.chain.from_iterable(chosen):
            done = worker.run(number)
            n_done += 1
            typer.echo(f"chunk {number}: {'done' if done else 'is there already'}")
