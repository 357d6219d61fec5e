"""Where figures come from: digests of files, the versions and the command, for evaluations and reports."""

from __future__ import annotations

import datetime
import hashlib
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from vcfrag_core.errors import InputError

_PACKAGES: Final = ("vcfrag", "numpy", "cyvcf2")


def file_blake2b(path: Path) -> str:
    """BLAKE2b (128 bits, hexadecimal) of a file's bytes.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error


def digest_of(paths: Sequence[Path]) -> str:
    """`file_blake2b` of one file; of several, a digest of theirs."""
    digests = [file_blake2b(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()


def run_metadata(files: Mapping[str, Path], **settings: Any) -> dict[str, Any]:
    """The files with their digests, settings, versions, command line and time of an evaluation."""
    return {
        "files": {name: {"path": str(path), "blake2b": file_blake2b(path)} for name, path in files.items()},
        "settings": settings,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
