"""The folder in which the parts of an unfinished output lie, `.NAME.parts` beside it.

A part is a window of a contig and appears whole or not at all. The parts of an interrupted run stay, and a run with
the same input takes up where it ended.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from vcfrag_core.errors import ProvenanceMismatchError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.lock import sole_writer
from vcfrag_core.hashing import text_digest


class PartsFolder:
    """The parts of one output, and what they were made from; held by one run at a time, until it is closed.

    Args:
        path: The output.
        contigs: Contigs in the order in which they are written.
        made_from: What all parts follow from.
        resume: Takes up the parts of an interrupted run; else they are removed.
        scratch: Folder in which they lie; the output's own without it.

    Raises:
        ProvenanceMismatchError: The parts were made from something else.
        OutputError: Another run writes this output.
    """

    def __init__(
        self,
        path: Path,
        contigs: Sequence[str],
        made_from: Mapping[str, str],
        *,
        resume: bool,
        scratch: Path | None = None,
    ) -> None:
        self.folder = parts_folder(path, scratch)
        self._contigs = tuple(contigs)
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(sole_writer(path))
        if not resume:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._same_or_new("run", {**made_from, "contigs": ",".join(contigs)})

    @property
    def contigs(self) -> tuple[str, ...]:
        """In the output's order."""
        return self._contigs

    def begin(self, contig: str, identity: Mapping[str, str], *, stretch: int = 0) -> None:
        """Says what the records of a contig's stretch follow from; parts made from anything else are never taken up.

        Raises:
            ProvenanceMismatchError: There are parts of this contig that were.
        """
        self._same_or_new(f"{self._contigs.index(contig):04d}" + (f"-{stretch}" if stretch else ""), identity)

    def part(self, contig: str, number: int) -> Path:
        """The file of window `number` of the contig."""
        return self.folder / f"{self._contigs.index(contig):04d}-{number:07d}.part"

    def parts(self, contig: str) -> list[Path]:
        """The contig's files in the order of the windows."""
        return sorted(self.folder.glob(f"{self._contigs.index(contig):04d}-*.part"))

    def close(self) -> None:
        """Lets another run write the output; what is there stays."""
        self._lock.close()

    def remove(self) -> None:
        """Removes the folder, once the output is whole."""
        shutil.rmtree(self.folder)

    def _same_or_new(self, name: str, identity: Mapping[str, str]) -> None:
        record = self.folder / f"{name}.json"
        if record.is_file():
            _check_same(json.loads(record.read_text()), identity, self.folder)
            return
        with atomic_path(record) as temporary:
            temporary.write_text(json.dumps(dict(identity), indent=1))


def parts_folder(path: Path, scratch: Path | None = None) -> Path:
    """Where the parts of an unfinished output lie: beside it, or in another folder under a name of its own."""
    return scratch_path(path, f".{path.name}.parts", scratch)


def scratch_path(path: Path, name: str, scratch: Path | None) -> Path:
    """A temporary file of an output: beside it, or in `scratch`, where outputs of equal names stay apart."""
    if scratch is None:
        return path.with_name(name)
    return scratch / f".{text_digest('output', str(path.absolute()))[:12]}{'' if name[0] == '.' else '-'}{name}"


def _check_same(made: Mapping[str, str], wanted: Mapping[str, str], folder: Path) -> None:
    """Refuses parts that another input made, naming what differs."""
    for key in [*wanted, *made]:
        if made.get(key) != wanted.get(key):
            raise ProvenanceMismatchError(
                f"--resume: {folder} was made with {key} {made.get(key)}, this run has {wanted.get(key)}; "
                "run without --resume to start anew"
            )
