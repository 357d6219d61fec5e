"""Whether a run can be trusted: what it was made from, and the proof that its judges were not among its teachers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vcfrag_core.errors import ConfigError, HeldOutSampleError, PanelMismatchError, VcfragError
from vcfrag_core.model.exported import read_exported
from vcfrag_core.model.provenance import FIELDS, Provenance
from vcfrag_core.model.scores import ValidationScores
from vcfrag_core.retrieval.identity import split_digest
from vcfrag_core.settings import from_table
from vcfrag_train.runs import checkpoints
from vcfrag_train.runs.folder import RunFolder, RunSplits
from vcfrag_train.runs.index_usage import IndexUsage, IndexUse
from vcfrag_train.runs.people import groups_of_all
from vcfrag_train.runs.together import digest_of


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is known of a run.

    Attributes:
        checkpoint: The checkpoint that was looked at.
        provenance: Its record.
        uses: Index uses up to it.
        leaks: Why validation samples' exclusion groups were not absent; empty if they were.
        masks: Why a mask was not the right one; empty if all were.
        masks_drawn_again: Masks that were drawn again from the panel and compared; None without the panel.
        not_drawn: Why none were.
    """

    checkpoint: Path
    provenance: Provenance
    uses: tuple[IndexUse, ...]
    leaks: tuple[str, ...]
    masks: tuple[str, ...]
    masks_drawn_again: int | None
    not_drawn: str = ""

    @property
    def trustworthy(self) -> bool:
        """Neither a leak nor a wrong mask."""
        return not self.leaks and not self.masks

    def verdict(self) -> str:
        """One line: were the judges absent from every index and batch, and was every mask the right one."""
        absent = f"NO ({self.leaks[0]})" if self.leaks else "yes"
        right = f"NO ({self.masks[0]})" if self.masks else f"yes ({self._how_checked()})"
        accepted = ", ".join(item.field for item in self.provenance.accepted)
        note = f"; accepted by hand: {accepted}" if accepted else ""
        return (
            f"validation samples' exclusion groups absent from every training index and batch: {absent}; "
            f"every mask the right one: {right}{note}"
        )

    def _how_checked(self) -> str:
        if self.masks_drawn_again is None:
            return f"by the record; {self.not_drawn}"
        return f"{self.masks_drawn_again} drawn again and compared"


def inspect_run(path: Path) -> Inspection:
    """Looks at a run's last checkpoint, or at the best one where there is no last.

    Raises:
        ProvenanceMissingError: The run or its checkpoint does not say what it was made from.
        ProvenanceMismatchError: A file of the checkpoint is not the recorded one.
    """
    run = RunFolder.open(path)
    checkpoint = run.pointed("last") or run.checkpoint()
    record = checkpoints.verify(checkpoint)
    index_usage = IndexUsage.read(checkpoint / checkpoints.INDEX_USAGE)
    wrong, drawn, not_drawn = _masks(run, index_usage)
    return Inspection(
        checkpoint=checkpoint,
        provenance=record,
        uses=tuple(index_usage),
        leaks=tuple(_leaks(run, record, index_usage)),
        masks=tuple(wrong),
        masks_drawn_again=drawn,
        not_drawn=not_drawn,
    )


def _leaks(run: RunFolder, record: Provenance, index_usage: IndexUsage) -> Iterable[str]:
    try:
        every = run.every_splits()
    except HeldOutSampleError as error:
        yield str(error)
        return
    if digest_of({name: split_digest(one.train) for name, one in every[0].items()}) != record.fields["split"]:
        yield "splits.json does not hold the split that the checkpoint speaks of"
    if digest_of({name: split_digest(one.validation) for name, one in every[0].items()}) != record.fields["validation"]:
        yield "splits.json does not hold the validation split that the checkpoint speaks of"
    together = [splits for by_name in every for splits in by_name.values()]
    yield from _strange_splits(together, index_usage)
    yield from _shared_groups(together, _tables(run), index_usage)


def _strange_splits(every: Sequence[RunSplits], index_usage: IndexUsage) -> Iterable[str]:
    known = {
        "train": {split_digest(splits.train) for splits in every},
        "validation": {split_digest(splits.validation) for splits in every},
    }
    strange = [use for use in index_usage if use.identity.split not in known[use.role]]
    if strange:
        yield (
            f"{len(strange)} indexes were of another split, the first at step {strange[0].first_step}: "
            f"{strange[0].identity.split}"
        )


def _tables(run: RunFolder) -> list[Path]:
    """The tables of samples that the run's configurations name, as far as they are still there."""
    from vcfrag_train.training.config import FitConfig

    found: list[Path] = []
    for table in run.every_config():
        # A setting that another version took is no reason not to look at a run.
        with contextlib.suppress(ConfigError):
            found += from_table(FitConfig, table, base=run.path).sample_tables
    return [path for path in found if path.is_file()]


def _shared_groups(every: Sequence[RunSplits], tables: Sequence[Path], index_usage: IndexUsage) -> Iterable[str]:
    groups = groups_of_all(every, tables)
    judges = set(index_usage.samples("validation"))
    reference: set[str] = set()
    for splits in every:
        judges |= set(splits.validation_samples)
        reference |= {*splits.train.reference, *splits.validation.reference}
    judging = {groups.get(name, name) for name in judges}
    places = {"reference": reference, "training batches": index_usage.samples("train")}
    for place, names in places.items():
        shared = sorted(name for name in names if groups.get(name, name) in judging)
        if shared:
            yield f"{len(shared)} samples of the {place} are of a validation sample's group, such as {shared[0]!r}"


def _masks(run: RunFolder, index_usage: IndexUsage) -> tuple[list[str], int | None, str]:
    """What is wrong with the masks, how many were drawn again, and why none were."""
    from vcfrag_train.inspect.masks import expected_masks

    fixed = {(use.mask.data, use.mask.kind, use.identity.mask) for use in index_usage if use.role == "validation"}
    kinds = {(data, kind) for data, kind, _ in fixed}
    wrong = []
    if len(fixed) > len(kinds) * len(run.every_config()):
        wrong.append(f"validation was under {len(fixed)} masks of {len(kinds)} kinds: they did not stay fixed")
    try:
        expected = expected_masks(run, index_usage)
    except PanelMismatchError as error:
        return wrong, None, f"they cannot be drawn again: {error}"
    except (VcfragError, OSError) as error:
        return wrong, None, f"the panel is not at hand to draw them again: {error}"
    for use in index_usage:
        if use.identity.mask not in expected[use.role, use.mask]:
            given = ", ".join(sorted(expected[use.role, use.mask])) or "none of that name"
            wrong.append(
                f"{use.role} at step {use.first_step}, epoch {use.mask.epoch}, visit {use.mask.visit}: "
                f"mask {use.identity.mask}, the configuration gives {given}"
            )
    return wrong, len(expected), ""


def describe(found: Inspection, run: Mapping[str, object]) -> list[str]:
    """The lines that `inspect` prints before its verdict."""
    lines = [f"checkpoint  {found.checkpoint.name} ({found.provenance.step} steps)", *_record_lines(found.provenance)]
    lines.append(f"seeds             {run.get('seeds')}")
    sessions = run.get("sessions")
    lines += [
        f"session           from step {session['from_step']} at {session['started']}"
        for session in (sessions if isinstance(sessions, list) else [])
    ]
    return lines + _accepted_lines(found.provenance) + list(_index_lines(found.uses))


def describe_exported(folder: Path) -> list[str]:
    """The lines that `inspect` prints of an exported model, which has the record and the scores of its run alone.

    Raises:
        ProvenanceMissingError: A file is missing, or the record does not speak of it.
        ProvenanceMismatchError: A file is not the one that the record speaks of.
    """
    record, scores = read_exported(folder)
    validation = ValidationScores(scores)
    bins = ", ".join(f"{100 * low:g}-{100 * high:g} %" for low, high in validation.left_to_copying())
    return [
        f"exported model    {folder.name} ({record.step} steps); its files are those of its record",
        *_record_lines(record),
        *_accepted_lines(record),
        f"left to copying   {f'MAF {bins}' if bins else 'no MAF bin'}",
        "an exported model keeps no record of indexes and masks: whether its validation can be believed, `vcfrag"
        " inspect` tells of the run that it was exported from",
    ]


def _record_lines(record: Provenance) -> list[str]:
    lines = [f"{name:<17} {record.fields[name]}  {record.described.get(name, '')}".rstrip() for name in FIELDS]
    return [*lines, "versions          " + ", ".join(f"{name} {version}" for name, version in record.versions.items())]


def _accepted_lines(record: Provenance) -> list[str]:
    return [
        f"accepted          {item.field} at step {item.step}: {item.recorded} -> {item.found}"
        for item in record.accepted
    ]


def _index_lines(uses: tuple[IndexUse, ...]) -> Iterable[str]:
    for role in ("train", "validation"):
        mine = [use for use in uses if use.role == role]
        if mine:
            yield (
                f"{role:<17} {len(mine)} indexes, {len({use.identity.mask for use in mine})} masks, "
                f"{len({use.identity.metric for use in mine})} metrics, {sum(use.batches for use in mine)} batches, "
                f"steps {min(use.first_step for use in mine)} to {max(use.last_step for use in mine)}"
            )
