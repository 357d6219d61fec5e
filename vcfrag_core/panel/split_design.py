"""Which samples train and which validate: people, never haplotypes, and families together."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from vcfrag_core.errors import ConfigError, UnknownSampleError
from vcfrag_core.panel.split import Split
from vcfrag_core.streams import stream_key

TRAIN = "train"
VALIDATION = "validation"
UNUSED = "unused"
INFER = "infer"
ROLES = (TRAIN, VALIDATION, UNUSED)
NO_STRATUM = "unknown"

_Columns = Sequence[str | None]


class Pedigree(Protocol):
    """What is known of samples; `vcfrag_core.files.tables.samples.SampleTable` is one. None where unknown."""

    @property
    def samples(self) -> Sequence[str]: ...
    @property
    def super_population(self) -> _Columns: ...
    @property
    def family(self) -> _Columns: ...
    @property
    def father(self) -> _Columns: ...
    @property
    def mother(self) -> _Columns: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SplitDesign:
    """The role and the exclusion group of every sample of a panel.

    Attributes:
        roles: `train`, `validation` or `unused`.
        groups: `family:NAME` where a family is known, the sample's own name otherwise.
    """

    roles: Mapping[str, str]
    groups: Mapping[str, str]

    def __post_init__(self) -> None:
        role_of: dict[str, tuple[str, str]] = {}
        for sample, role in self.roles.items():
            if role not in ROLES:
                raise ConfigError(f"sample {sample!r} has the role {role!r}; known are {', '.join(ROLES)}")
            other, first = role_of.setdefault(self.groups[sample], (role, sample))
            if other != role:
                raise ConfigError(
                    f"{first!r} ({other}) and {sample!r} ({role}) are of one family and must share a role"
                )

    def samples(self, role: str) -> tuple[str, ...]:
        """The samples of one role, sorted by name."""
        return tuple(sorted(sample for sample, its in self.roles.items() if its == role))

    def splits(self) -> dict[str, Split]:
        """The splits `train`, `validation` and `infer`.

        Training samples are the reference of the first two; `infer` refers to every sample that is not `unused`.
        Whoever is not in a reference and has a part in the design is listed as held out.

        Raises:
            ConfigError: There is no training or no validation sample.
        """
        train, validation, unused = (self.samples(role) for role in ROLES)
        if not train or not validation:
            raise ConfigError(f"{len(train)} training and {len(validation)} validation samples; both are needed")
        return {
            TRAIN: self._split(TRAIN, train, validation + unused),
            VALIDATION: self._split(VALIDATION, train, validation + unused),
            INFER: self._split(INFER, tuple(sorted(train + validation)), unused),
        }

    def _split(self, name: str, reference: tuple[str, ...], held_out: tuple[str, ...]) -> Split:
        groups = {sample: self.groups[sample] for sample in reference + held_out}
        return Split(name=name, reference=reference, held_out=held_out, groups=groups)


def infer_split(samples: Sequence[str], table: Pedigree | None = None) -> Split:
    """The split `infer` of a panel from which nothing is held out."""
    return Split(name=INFER, reference=tuple(samples), groups=exclusion_groups(samples, table))


def design_by_fraction(
    samples: Sequence[str],
    *,
    seed: int,
    validation: float = 0.1,
    unused: float = 0.0,
    table: Pedigree | None = None,
) -> SplitDesign:
    """Roles by chance, stratified by super-population, families kept together; the rest trains.

    The order of the samples has no influence. A stratum's shares are met as closely as whole families allow, and what
    one stratum falls short of the next makes up.

    Args:
        samples: The panel's samples.
        seed: Chooses who.
        validation: Share of the samples that validate.
        unused: Share that is left out of everything.
        table: What is known of the samples; those that it lacks stand alone.

    Raises:
        ConfigError: The shares are negative or leave nothing to train on.
    """
    if validation < 0 or unused < 0 or validation + unused >= 1:
        raise ConfigError(f"shares of validation = {validation:g} and unused = {unused:g} leave nothing to train on")
    groups = exclusion_groups(samples, table)
    roles = dict.fromkeys(sorted(samples), TRAIN)
    owed = {VALIDATION: 0.0, UNUSED: 0.0}
    for families in _strata(groups, table).values():
        waiting = sorted(families.items(), key=lambda item: stream_key("split", seed, item[0]))
        stratum_size = sum(len(members) for members in families.values())
        for role, share in ((VALIDATION, validation), (UNUSED, unused)):
            owed[role] += share * stratum_size
            taken = _take(waiting, owed[role])
            owed[role] -= len(taken)
            roles.update(dict.fromkeys(taken, role))
    return SplitDesign(roles=roles, groups=groups)


def design_from_roles(
    samples: Sequence[str], roles: Mapping[str, str], *, table: Pedigree | None = None
) -> SplitDesign:
    """The roles that a file gives to every sample of the panel.

    Raises:
        ConfigError: A sample of the panel has no role or an unknown one, or a family has two.
        UnknownSampleError: A sample is named that the panel lacks.
    """
    unknown = sorted(set(roles) - set(samples))
    if unknown:
        raise UnknownSampleError(f"{len(unknown)} samples with a role are not in the panel, such as {unknown[0]!r}")
    without = sorted(set(samples) - set(roles))
    if without:
        raise ConfigError(
            f"{len(without)} samples of the panel have no role, such as {without[0]!r}; "
            f"give those that should stay out of everything the role {UNUSED!r}"
        )
    return SplitDesign(roles={name: roles[name] for name in sorted(samples)}, groups=exclusion_groups(samples, table))


def exclusion_groups(samples: Sequence[str], table: Pedigree | None = None) -> dict[str, str]:
    """Every sample's group: people who are joined by a family's name, or by a parent, at any remove.

    Returns:
        Sample to `family:NAME`, the first by name where several families are joined; the sample's own name where no
        family is known and nobody else is joined; `family:SAMPLE`, the first by name, where only parents join them.
    """
    parent: dict[str, str] = {}
    names = set(samples)
    for sample, *relations in _rows(table):
        for kind, relative in zip(("family", "person", "person"), relations, strict=True):
            if relative is not None:
                _join(parent, f"person:{sample}", f"{kind}:{relative}")
    members = collections.defaultdict(list)
    for sample in sorted(names):
        members[_root(parent, f"person:{sample}")].append(sample)
    families: dict[str, str] = {}
    for node in sorted(node for node in parent if node.startswith("family:")):
        families.setdefault(_root(parent, node), node)
    return {
        sample: families.get(root) or (joined[0] if len(joined) == 1 else f"family:{joined[0]}")
        for root, joined in members.items()
        for sample in joined
    }


def pedigree_groups(table: Pedigree) -> dict[str, str]:
    """`exclusion_groups` of everybody whom a table names, parents without a row too."""
    named = {*table.samples, *table.father, *table.mother}
    return exclusion_groups(sorted(name for name in named if name is not None), table)


def joined_groups(several: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Groups of people over several panels and tables: who shares a group in one of them shares it in all.

    Args:
        several: Sample to exclusion group, of each.

    Returns:
        Every sample's group; its name means nothing elsewhere.
    """
    parent: dict[str, str] = {}
    for groups in several:
        for sample, group in groups.items():
            _join(parent, f"person:{sample}", f"group:{group}")
    return {sample: _root(parent, f"person:{sample}") for groups in several for sample in groups}


def _rows(table: Pedigree | None) -> Iterable[tuple[str, str | None, str | None, str | None]]:
    return zip(table.samples, table.family, table.father, table.mother, strict=True) if table is not None else ()


def _strata(groups: Mapping[str, str], table: Pedigree | None) -> dict[str, dict[str, list[str]]]:
    """Super-population to group to samples; a group belongs where most of it does."""
    known = dict(zip(table.samples, table.super_population, strict=True)) if table is not None else {}
    families = collections.defaultdict(list)
    for sample in sorted(groups):
        families[groups[sample]].append(sample)
    strata: dict[str, dict[str, list[str]]] = {}
    for group, members in families.items():
        counts = collections.Counter(known.get(sample) or NO_STRATUM for sample in members)
        stratum = min(counts, key=lambda name: (-counts[name], name))
        strata.setdefault(stratum, {})[group] = members
    return dict(sorted(strata.items()))


def _take(waiting: list[tuple[str, list[str]]], wanted: float) -> list[str]:
    """Takes families off the list for as long as that comes nearer to the wanted number of samples."""
    taken: list[str] = []
    kept = []
    for group, members in waiting:
        if len(taken) + len(members) / 2 < wanted:
            taken.extend(members)
        else:
            kept.append((group, members))
    waiting[:] = kept
    return taken


def _root(parent: dict[str, str], node: str) -> str:
    while parent.setdefault(node, node) != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def _join(parent: dict[str, str], one: str, other: str) -> None:
    first, second = sorted((_root(parent, one), _root(parent, other)))
    parent[second] = first
