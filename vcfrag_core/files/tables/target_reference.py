"""Targets that serve as references, as a file beside the record that names them by digest."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vcfrag_core.errors import ProvenanceMismatchError, ShapeError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.targets.target_reference import TargetReference

_FIELDS = ("typed", "samples", "people", "packed", "n_sites")


def write_target_references(references: Mapping[str, TargetReference], path: Path) -> None:
    """Writes those of all contigs, whole or not at all; the file of an earlier record goes where nobody serves."""
    if not references:
        path.unlink(missing_ok=True)
        return
    columns: dict[str, Any] = {}
    for contig, reference in references.items():
        columns |= {
            f"{contig}/typed": np.array(reference.typed),
            f"{contig}/samples": np.array("\n".join(reference.samples)),
            f"{contig}/people": np.array("\n".join(reference.people)),
            f"{contig}/packed": reference.packed,
            f"{contig}/n_sites": np.array(reference.n_sites),
        }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **columns)


def read_target_reference(path: Path, contig: str, digest: str) -> TargetReference:
    """Those of one contig.

    Args:
        path: The file.
        contig: As they were written.
        digest: What the record says of them.

    Raises:
        ProvenanceMismatchError: The file is not there, or is not that of the record.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            typed, samples, people, packed, n_sites = (stored[f"{contig}/{field}"] for field in _FIELDS)
        reference = TargetReference(
            typed=str(typed),
            samples=tuple(str(samples).split("\n")),
            people=tuple(str(people).split("\n")),
            packed=packed,
            n_sites=int(n_sites),
        )
    except OSError as error:
        raise ProvenanceMismatchError(
            f"{path}: cannot be read ({error.strerror or error}); it holds the targets that serve as references on"
            f" {contig} and belongs beside the record"
        ) from error
    except (TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile, ShapeError) as error:
        raise ProvenanceMismatchError(f"{path}: is not the file that belongs to the record ({error})") from error
    if reference.digest != digest:
        raise ProvenanceMismatchError(
            f"{path}: has other targets that serve as references on {contig} ({reference.digest}) than the record says"
            f" ({digest})"
        )
    return reference
