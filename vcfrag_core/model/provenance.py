"""What a set of weights was made from, field by field, and the refusal of anything else.

A checkpoint carries one record: a digest for everything that changes what the weights mean. Whoever goes on from the
weights states what they have now; the first field that differs is refused by name, unless a person accepts it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from vcfrag_core.errors import ConfigError, ProvenanceMismatchError, ProvenanceMissingError

FORMAT = 1
PROVENANCE_FILE = "provenance.json"

FIELDS: Mapping[str, str] = {
    "panel": "contig, sites, samples and haplotypes",
    "map": "the genetic map",
    "split": "reference, held-out samples and exclusion groups of training",
    "validation": "those of validation",
    "masks": "the policies of training masks and their seed",
    "validation_masks": "the masks of validation, bit for bit",
    "windows": "window length and flank",
    "retrieval": "segment layout, neighbours per segment, candidates",
    "metric": "the embedding that weighs the sites, when it is refreshed, and the weights in force",
    "model": "the network's shape",
    "inputs": "what the network is shown of a site",
    "optimiser": "learning rate, schedule, batches and loss",
    "seed": "of weights, batches and dropout",
}


# With inputs of another meaning, the same weights make nonsense.
NEVER_ACCEPTED = frozenset({"inputs"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """A difference that a person accepted: the field, what was recorded, what was found, and at which step."""

    field: str
    recorded: str
    found: str
    step: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The record beside a checkpoint's weights.

    Attributes:
        fields: A digest or value for each of `FIELDS`.
        described: The same things in words, for people.
        versions: Of vcfrag and of the libraries that numbers depend on.
        step: Optimiser steps taken.
        metric: Digest of the site weights in force.
        files: Digest of each file of the checkpoint.
        accepted: Differences accepted on the way here.
    """

    fields: Mapping[str, str]
    described: Mapping[str, str]
    versions: Mapping[str, str]
    step: int
    metric: str
    files: Mapping[str, str]
    accepted: tuple[Acceptance, ...] = ()

    def __post_init__(self) -> None:
        missing = sorted(set(FIELDS) - set(self.fields))
        if missing:
            raise ProvenanceMissingError(f"the record does not say what {missing[0]!r} was: {FIELDS[missing[0]]}")

    def check(self, found: Mapping[str, str], accept: Collection[str] = ()) -> tuple[Acceptance, ...]:
        """Compares what is here now with the record; what is not in `found` is not compared.

        Args:
            found: Values of some of `FIELDS`.
            accept: Fields in which a difference is allowed.

        Returns:
            The differences that were accepted.

        Raises:
            ConfigError: `accept` or `found` names a field that does not exist.
            ProvenanceMismatchError: A field differs and is not accepted; names the field and both values.
        """
        check_names([*accept, *found])
        different = [name for name in FIELDS if name in found and found[name] != self.fields[name]]
        refused = [name for name in different if name not in accept or name in NEVER_ACCEPTED]
        if refused:
            # What cannot be accepted first: whoever accepts the others is not helped.
            refused.sort(key=lambda name: name not in NEVER_ACCEPTED)
            raise ProvenanceMismatchError(self._refusal(refused, found))
        return tuple(
            Acceptance(field=name, recorded=self.fields[name], found=found[name], step=self.step) for name in different
        )

    def _refusal(self, refused: list[str], found: Mapping[str, str]) -> str:
        name = refused[0]
        verb = "differ" if name.endswith("s") else "differs"
        others = f" ({', '.join(refused[1:])} too)" if refused[1:] else ""
        remedy = f"--accept {name} goes on all the same and is recorded"
        if name in NEVER_ACCEPTED:
            remedy = "train anew with this version, or use the one that made it"
        return (
            f"the {name} {verb}{others}: the checkpoint was made with {self.fields[name]} "
            f"({self.described.get(name, FIELDS[name])}), here it is {found[name]}; {remedy}"
        )


def check_names(names: Iterable[str]) -> None:
    """Refuses a name that is not one of `FIELDS`.

    Raises:
        ConfigError: As said.
    """
    unknown = sorted(set(names) - set(FIELDS))
    if unknown:
        raise ConfigError(f"{unknown[0]!r} is not a field of provenance; they are {', '.join(FIELDS)}")


def to_json(record: Provenance) -> str:
    """The record as JSON text."""
    return json.dumps({"format": FORMAT, **dataclasses.asdict(record)}, indent=2, sort_keys=True) + "\n"


def from_json(text: str, path: Path) -> Provenance:
    """The record from JSON text; `path` is for messages.

    Raises:
        ProvenanceMissingError: It is not such a record, or not of this format.
    """
    try:
        table: dict[str, Any] = json.loads(text)
        found = table.pop("format")
        if found == FORMAT:
            accepted = tuple(Acceptance(**item) for item in table.pop("accepted"))
            return Provenance(**table, accepted=accepted)
    except ProvenanceMissingError as error:
        raise ProvenanceMissingError(f"{path}: {error}; another version made it: train anew with this one") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProvenanceMissingError(f"{path}: not a record of provenance ({error})") from error
    raise ProvenanceMissingError(f"{path}: provenance of format {found}, this version reads {FORMAT}")


def read_provenance(folder: Path) -> Provenance:
    """The record of a checkpoint's folder.

    Raises:
        ProvenanceMissingError: There is none, or it cannot be read.
    """
    path = folder / PROVENANCE_FILE
    if not path.is_file():
        raise ProvenanceMissingError(
            f"{folder} holds no {PROVENANCE_FILE}: weights that do not say what they learned from are not used"
        )
    return from_json(path.read_text(encoding="utf-8"), path)


def versions() -> dict[str, str]:
    """Versions of vcfrag, of Python and of the libraries that numbers depend on."""
    import importlib.metadata
    import platform

    found = {"python": platform.python_version()}
    for name in ("vcfrag", "torch", "lightning", "numpy", "numba"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
