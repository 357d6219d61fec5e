"""Every index that a run learned from or was judged on, when, and whose haplotypes were asked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from vcfrag_core.errors import ProvenanceMissingError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.masks.curriculum import MaskKey
from vcfrag_core.masks.draw import policy_digest
from vcfrag_core.retrieval.identity import Identity

Role = Literal["train", "validation"]
ROLES: tuple[Role, ...] = ("train", "validation")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MaskName:
    """Where a mask comes from.

    Attributes:
        kind: `level`, `array`, or the name of a validation mask.
        policy: Digest of the policy that it is drawn from.
        epoch: Epoch that it is drawn for.
        visit: Visit that it is drawn for.
        data: Name of the data set, of several.
    """

    kind: str
    policy: str
    epoch: int
    visit: int
    data: str = ""

    @classmethod
    def of(cls, key: MaskKey, data: str = "") -> MaskName:
        """The name of a curriculum's mask."""
        return cls(kind=key.kind, policy=policy_digest(key.policy), epoch=key.epoch, visit=key.visit, data=data)


@dataclasses.dataclass(slots=True, kw_only=True)
class IndexUse:
    """One index and the steps during which it was used.

    Attributes:
        role: Of the batches that asked it.
        identity: Its five digests.
        mask: Where its mask comes from.
        metric_version: How many refreshes of the metric came before it.
        first_step: Optimiser steps taken when it was first used.
        last_step: And when it was last used.
        batches: Batches that it answered.
    """

    role: Role
    identity: Identity
    mask: MaskName
    metric_version: int
    first_step: int
    last_step: int
    batches: int


class IndexUsage:
    """Index uses and the samples that were asked, by role; one writer."""

    def __init__(self) -> None:
        self._uses: dict[tuple[Role, Identity], IndexUse] = {}
        self._samples: dict[Role, set[str]] = {role: set() for role in ROLES}

    def __iter__(self) -> Iterator[IndexUse]:
        return iter(self._uses.values())

    def __len__(self) -> int:
        return len(self._uses)

    def samples(self, role: Role) -> frozenset[str]:
        """Names of the samples whose haplotypes were queries in this role."""
        return frozenset(self._samples[role])

    def add(
        self,
        role: Role,
        identity: Identity,
        mask: MaskName,
        *,
        metric_version: int,
        step: int,
        samples: Iterable[str],
    ) -> None:
        """Notes that a batch of this index was consumed at this step."""
        self._samples[role].update(samples)
        use = self._uses.get((role, identity))
        if use is None:
            self._uses[role, identity] = IndexUse(
                role=role,
                identity=identity,
                mask=mask,
                metric_version=metric_version,
                first_step=step,
                last_step=step,
                batches=1,
            )
            return
        use.last_step = step
        use.batches += 1

    def merge(self, other: IndexUsage) -> None:
        """Takes in another process's uses."""
        for role in ROLES:
            self._samples[role] |= other._samples[role]
        for key, use in other._uses.items():
            mine = self._uses.setdefault(key, dataclasses.replace(use, batches=0))
            mine.first_step = min(mine.first_step, use.first_step)
            mine.last_step = max(mine.last_step, use.last_step)
            mine.batches += use.batches

    def write(self, path: Path) -> None:
        """Writes the uses as JSON, one index a line."""
        rows = [json.dumps(_row(use)) for use in self]
        samples = json.dumps({role: sorted(names) for role, names in self._samples.items()})
        with atomic_path(path) as temporary:
            temporary.write_text(
                f'{{"samples": {samples},\n"indexes": [\n' + ",\n".join(rows) + "\n]}\n", encoding="utf-8"
            )

    @classmethod
    def read(cls, path: Path) -> IndexUsage:
        """The uses that a file records.

        Raises:
            ProvenanceMissingError: It is not there, or is not a record of index usage.
        """
        index_usage = cls()
        try:
            table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            for role in ROLES:
                index_usage._samples[role] = set(table["samples"][role])
            for row in table["indexes"]:
                use = _use(row)
                index_usage._uses[use.role, use.identity] = use
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ProvenanceMissingError(f"{path}: not a record of index usage ({error})") from error
        return index_usage


def _row(use: IndexUse) -> dict[str, Any]:
    row = dataclasses.asdict(use)
    if not use.mask.data:
        del row["mask"]["data"]
    return row


def _use(row: dict[str, Any]) -> IndexUse:
    return IndexUse(**{**row, "identity": Identity(**row["identity"]), "mask": MaskName(**row["mask"])})
