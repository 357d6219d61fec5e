"""What a run works on, made from its configuration: panel, map, splits, masks, windows, and the digest of each.

Of several data sets each has all of these; a run's fields of provenance then speak of them together.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vcfrag_core.copying.parameters import DENSE, DENSE_PER_CM, SPARSE, SPARSE_PER_CM
from vcfrag_core.errors import ConfigError, SampleTableError, UnknownContigError, UnknownSampleError
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.panel.contigs import region_in
from vcfrag_core.files.tables.genetic_map import map_for
from vcfrag_core.files.tables.samples import read_sample_table
from vcfrag_core.files.tables.sites import every_coding, read_typed_sites
from vcfrag_core.files.tables.splits import read_split_table
from vcfrag_core.files.tables.text import numbered_lines
from vcfrag_core.hashing import text_digest
from vcfrag_core.masks.curriculum import CurriculumConfig, TrainingMasks, validation_masks
from vcfrag_core.masks.draw import MaskPolicy, MaskSites, SitesMask, policy_digest
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel, panel_digest
from vcfrag_core.panel.split import Split
from vcfrag_core.panel.split_design import (
    TRAIN,
    UNUSED,
    VALIDATION,
    SplitDesign,
    design_by_fraction,
    design_from_roles,
    exclusion_groups,
)
from vcfrag_core.panel.windows import Window, lay_windows
from vcfrag_core.retrieval.identity import mask_digest, split_digest
from vcfrag_core.settings import to_table
from vcfrag_core.streams import stream_key
from vcfrag_core.types import BoolArray, F32Array
from vcfrag_train.runs.folder import RunSplits
from vcfrag_train.runs.people import groups_of_all
from vcfrag_train.runs.together import digest_of, listed
from vcfrag_train.training.config import DataConfig, FitConfig, MasksConfig, PanelConfig, SplitConfig
from vcfrag_train.training.data.rates import TrainingRates, estimate_training_rates


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Everything that a configuration says of one data set, read and checked.

    Attributes:
        name: The data set's, of several.
        panel_name: What the daemon calls the panel.
        visits: Visits in an epoch; one pass over all windows and samples unless given.
        panel: The reference panel.
        genetic_map: Its map.
        splits: External is in which role.
        windows: All windows of the panel.
        frequency: (V,) ALT frequency among the training reference.
        counted: (V,) sites that are observed or count: those that vary in the reference, where it is a part of the
            training samples. All sites where it is None.
        masks: Masks of training.
        validation: Masks of validation by name.
        validation_digests: Digest of each of them.
        rates: Rates of copying estimated under them; None where the configuration gives the parameters.
        fields: Provenance of all this, see `vcfrag_core.model.provenance.FIELDS`.
        described: The same in words.
    """

    name: str
    panel_name: str
    visits: int | None
    panel: Panel
    genetic_map: GeneticMap
    splits: RunSplits
    windows: list[Window]
    frequency: F32Array
    counted: BoolArray | None
    masks: TrainingMasks
    validation: Mapping[str, BoolArray]
    validation_digests: Mapping[str, str]
    rates: TrainingRates | None
    fields: Mapping[str, str]
    described: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunData:
    """The data sets of a run.

    Attributes:
        sets: All of them, in the configuration's order.
        fields: Provenance of them together.
        described: The same in words.
    """

    sets: tuple[TrainingData, ...]
    fields: Mapping[str, str]
    described: Mapping[str, str]

    def named(self, name: str) -> TrainingData:
        """One of them."""
        return next(one for one in self.sets if one.name == name)

    @property
    def splits(self) -> dict[str, RunSplits]:
        """The splits of each."""
        return {one.name: one.splits for one in self.sets}

    def places(self) -> dict[str, slice]:
        """Where each one's sites lie among those of all, one data set after another."""
        ends = np.cumsum([0, *(one.panel.n_sites for one in self.sets)]).tolist()
        return {one.name: slice(start, stop) for one, start, stop in zip(self.sets, ends[:-1], ends[1:], strict=True)}


def load_run_data(config: FitConfig) -> RunData:
    """Reads and makes all data sets of a configuration.

    Raises:
        InputError: A file cannot be used.
        ConfigError: As for `load_training_data`; somebody trains in one data set and validates in another.
    """
    read: dict[str, tuple[Panel, GeneticMap]] = {}
    sets = []
    for one in config.data_sets:
        if one.panel.name not in read:
            read[one.panel.name] = _read(one.panel)
        sets.append(make_training_data(config, *read[one.panel.name], one))
    _check_people(sets, config.sample_tables)
    return RunData(
        sets=tuple(sets),
        fields={field: digest_of({one.name: one.fields[field] for one in sets}) for field in sets[0].fields},
        described={field: listed({one.name: one.described[field] for one in sets}) for field in sets[0].described},
    )


def load_training_data(config: FitConfig, one: DataConfig | None = None) -> TrainingData:
    """Reads and makes everything that the configuration says of a data set, the first one unless given.

    Raises:
        InputError: A file cannot be used.
        ConfigError: The split leaves nobody to train or to validate, or an array has no site on the panel.
    """
    one = one or config.data_sets[0]
    return make_training_data(config, *_read(one.panel), one)


def make_training_data(
    config: FitConfig, panel: Panel, genetic_map: GeneticMap, one: DataConfig | None = None
) -> TrainingData:
    """As `load_training_data`, of a panel and a map that are in memory."""
    one = one or config.data_sets[0]
    masks = one.masks or config.masks
    splits = _splits(one.split, panel)
    rows = panel.rows_of(splits.train.reference)
    sites = MaskSites.of(panel, rows)
    frequency = panel.alt_frequency(rows).astype(np.float32)
    in_part = one.split.reference_samples is not None or bool(one.split.reference_populations)
    counted = (frequency > 0) & (frequency < 1) if in_part else None
    curriculum = training_curriculum(masks, panel)
    of_set = f" {one.name}" if one.name else ""
    fixed = validation_masks(
        sites, seed=masks.validation_seed, array=_validation_array(masks, panel), split=f"validation{of_set}"
    )
    if counted is not None:
        fixed = {name: mask & counted for name, mask in fixed.items()}
    rates = None
    if config.retrieval is None:
        threads = config.trainer.copying_threads
        rates = estimate_training_rates(panel, genetic_map, splits.train, fixed, threads=threads)
    return TrainingData(
        name=one.name,
        panel_name=one.panel.name,
        visits=one.visits or config.optimiser.visits_per_epoch,
        panel=panel,
        genetic_map=genetic_map,
        splits=splits,
        windows=lay_windows(genetic_map.at(panel.positions), config.windows.sites, config.windows.flank_cm or 0),
        frequency=frequency,
        counted=counted,
        masks=TrainingMasks(curriculum, sites, seed=config.seed, split=f"train{of_set}", within=counted),
        validation=fixed,
        validation_digests={name: mask_digest(mask) for name, mask in fixed.items()},
        rates=rates,
        fields=_fields(config, one, panel, genetic_map, splits, curriculum, fixed)
        | {"retrieval": readable(_retrieval(config, rates))},
        described=_described(one, panel, genetic_map, splits, rates),
    )


def training_curriculum(masks: MasksConfig, panel: Panel) -> CurriculumConfig:
    """The curriculum, with the sites of a real array where the configuration names one."""
    given = masks.array_sites
    return masks.curriculum(_array_sites(given, panel) if given else masks.array_policy())


def design_split(config: SplitConfig, panel: Panel) -> SplitDesign:
    """Everybody's role: from a file, or by fractions; whoever is excluded takes the whole family along.

    Raises:
        UnknownSampleError: A sample is excluded that the panel lacks.
    """
    table = read_sample_table(config.samples) if config.samples else None
    if config.file is not None:
        return design_from_roles(panel.samples, read_split_table(config.file), table=table)
    groups = exclusion_groups(panel.samples, table)
    excluded = {groups[name] for name in _excluded(config, panel)}
    rest = [name for name in panel.samples if groups[name] not in excluded]
    design = design_by_fraction(rest, seed=config.seed, validation=config.validation_fraction, table=table)
    return SplitDesign(roles=dict.fromkeys(panel.samples, UNUSED) | dict(design.roles), groups=groups)


def _read(panel: PanelConfig) -> tuple[Panel, GeneticMap]:
    region = None if panel.region is None else region_in(panel.path, panel.region)
    try:
        read = load_panel(panel.path, region=region, cache_dir=panel.cache_dir)
    except UnknownContigError as error:
        what = "is not set" if region is None else panel.region
        raise UnknownContigError(f"panel.region {what}: {error}") from error
    if not read.ploidy.is_diploid:
        raise ConfigError(
            f"{panel.path}: {int(read.ploidy.is_haploid.sum())} of {read.n_samples} samples have one haplotype on"
            f" {read.contig}; a model is trained on samples of two, take them out or train on another contig"
        )
    return read, map_for(read, panel.map)


def _splits(config: SplitConfig, panel: Panel) -> RunSplits:
    """Both splits; where the reference is a part of the training samples, the others are held out of it."""
    design = design_split(config, panel)
    by_name = design.splits()
    training = design.samples(TRAIN)
    reference = _reference(config, training)
    queries = training if config.queries == "all" else tuple(sorted(set(training) - set(reference)))
    if not queries:
        raise ConfigError("split.queries = 'outside' leaves no query: every training sample is of the reference")
    return RunSplits(
        train=_among(by_name[TRAIN], reference),
        validation=_among(by_name[VALIDATION], reference),
        train_samples=queries,
        validation_samples=design.samples(VALIDATION),
    )


def _reference(config: SplitConfig, training: tuple[str, ...]) -> tuple[str, ...]:
    """Who of the training samples is the reference.

    Raises:
        ConfigError: Fewer than two samples are left, or fewer than are wanted.
    """
    chosen = training
    if config.reference_populations and config.samples is not None:
        table = read_sample_table(config.samples)
        of = dict(zip(table.samples, zip(table.population, table.super_population, strict=True), strict=True))
        wanted = set(config.reference_populations)
        known = {name for names in of.values() for name in names if name is not None}
        if not wanted <= known:
            raise ConfigError(
                f"split.reference_populations: {config.samples} has no population {min(wanted - known)!r}; "
                f"it has {', '.join(sorted(known)) or 'none at all'}"
            )
        chosen = tuple(name for name in training if wanted & set(of.get(name, ())))
    count = config.reference_samples or max(2, len(chosen))
    if len(chosen) < count:
        among = f" of {', '.join(config.reference_populations)}" if config.reference_populations else ""
        raise ConfigError(f"a reference of {count} samples is wanted, there are {len(chosen)} training samples{among}")
    drawn = sorted(chosen, key=lambda name: stream_key("reference", config.seed, name))[:count]
    return tuple(sorted(drawn))


def _among(split: Split, reference: tuple[str, ...]) -> Split:
    """The split with a part of its reference."""
    left = tuple(sorted({*split.reference, *split.held_out} - set(reference)))
    return split if reference == split.reference else dataclasses.replace(split, reference=reference, held_out=left)


def _check_people(sets: Sequence[TrainingData], tables: Sequence[Path]) -> None:
    """Refuses somebody who validates in one data set and is learned from in another, by name or family."""
    groups = groups_of_all((one.splits for one in sets), tables)
    people = {name: (name, one.name) for one in sets for name in one.splits.validation_samples}
    families = {groups[name]: judge for name, judge in people.items()}
    for one in sets:
        for name in sorted({*one.splits.train_samples, *one.splits.train.reference}):
            judge, judged_in = people.get(name) or families.get(groups[name], ("", ""))
            if judge:
                relation = "" if judge == name else f" as {judge!r}, of its family,"
                apart = "; unrelated families that have one name in two tables need two" if relation else ""
                raise ConfigError(
                    f"sample {name!r} trains in data set {one.name!r} and{relation} validates in {judged_in!r}: give "
                    "both the same split.samples, which keeps families together, and one split.file, or the same "
                    f"seed and fraction{apart}"
                )


def readable(value: Any) -> str:
    """A setting as short, sorted JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _excluded(config: SplitConfig, panel: Panel) -> list[str]:
    if config.exclude is None:
        return []
    names = [line.strip() for _, line in numbered_lines(config.exclude, SampleTableError)]
    unknown = sorted(set(names) - set(panel.samples))
    if unknown:
        raise UnknownSampleError(
            f"{config.exclude} excludes {len(unknown)} samples that are not in the panel, such as {unknown[0]!r}"
        )
    return names


def _array_sites(path: Path, panel: Panel) -> SitesMask:
    policy = SitesMask.matching(panel, every_coding(read_typed_sites(path, panel.contig)))
    if len(policy.sites) == panel.n_sites:
        raise ConfigError(f"{path} types every site of the panel: nothing is hidden")
    return policy


def _validation_array(masks: MasksConfig, panel: Panel) -> MaskPolicy:
    given = masks.validation_array_sites
    return _array_sites(given, panel) if given else masks.array_policy()


def _fields(
    config: FitConfig,
    one: DataConfig,
    panel: Panel,
    genetic_map: GeneticMap,
    splits: RunSplits,
    curriculum: CurriculumConfig,
    fixed: Mapping[str, BoolArray],
) -> dict[str, str]:
    optimiser = {**to_table(config.optimiser), "epochs": config.epochs}
    if one.name:
        optimiser["visits"] = one.visits or config.optimiser.visits_per_epoch
    masks = {**dataclasses.asdict(curriculum), "array": policy_digest(curriculum.array), "seed": config.seed}
    return {
        "panel": panel_digest(panel),
        "map": genetic_map.digest,
        "split": split_digest(splits.train),
        "validation": split_digest(splits.validation),
        "masks": text_digest("masks", readable(masks)),
        "validation_masks": text_digest("masks", *(mask_digest(fixed[name]) for name in sorted(fixed))),
        "windows": readable(to_table(config.windows)),
        "optimiser": readable(optimiser),
        "seed": str(config.seed),
    }


def _described(
    one: DataConfig, panel: Panel, genetic_map: GeneticMap, splits: RunSplits, rates: TrainingRates | None
) -> dict[str, str]:
    return {
        "panel": f"{one.panel.path.name}, contig {panel.contig}, {panel.n_sites} sites, {panel.n_samples} samples",
        "map": genetic_map.source or f"a map of contig {genetic_map.contig}",
        "split": f"{len(splits.train.reference)} reference, {len(splits.train.held_out)} held out",
        "validation": f"{len(splits.validation_samples)} samples validate",
        "retrieval": "as configured" if rates is None else str(rates),
    }


def _retrieval(config: FitConfig, rates: TrainingRates | None) -> dict[str, Any]:
    """As configured, or the rule as it stands, so that no run goes on under another one, and the estimated rates."""
    if config.retrieval is not None:
        return to_table(config.retrieval)
    ends = {"sparse": (SPARSE_PER_CM, SPARSE), "dense": (DENSE_PER_CM, DENSE)}
    rule = {name: {"observed_per_cm": density, **to_table(end)} for name, (density, end) in ends.items()}
    return rule if rates is None else {**rule, "rates": rates.table()}
