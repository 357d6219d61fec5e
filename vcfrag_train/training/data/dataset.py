"""What a run works on, made from its configuration: panel, map, splits, masks, windows, and the digest of each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vcfrag_core.copying.parameters import DENSE, DENSE_PER_CM, SPARSE, SPARSE_PER_CM
from vcfrag_core.errors import ConfigError, SampleTableError, UnknownSampleError
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.tables.genetic_map import map_for
from vcfrag_core.files.tables.samples import read_sample_table
from vcfrag_core.files.tables.sites import read_typed_sites
from vcfrag_core.files.tables.splits import read_split_table
from vcfrag_core.files.tables.text import numbered_lines
from vcfrag_core.hashing import text_digest
from vcfrag_core.masks.curriculum import CurriculumConfig, TrainingMasks, validation_masks
from vcfrag_core.masks.draw import MaskPolicy, MaskSites, SitesMask, policy_digest
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel, panel_digest
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
from vcfrag_core.types import BoolArray, F32Array
from vcfrag_train.runs.folder import RunSplits
from vcfrag_train.training.config import FitConfig, SplitConfig
from vcfrag_train.training.data.rates import TrainingRates, estimate_training_rates


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Everything that a configuration names, read and checked.

    Attributes:
        panel: The reference panel.
        genetic_map: Its map.
        splits: External is in which role.
        windows: All windows of the panel.
        frequency: (V,) ALT frequency among the training reference.
        masks: Masks of training.
        validation: Masks of validation by name.
        validation_digests: Digest of each of them.
        rates: Rates of copying estimated under them; None where the configuration gives the parameters.
        fields: Provenance of all this, see `vcfrag_core.model.provenance.FIELDS`.
        described: The same in words.
    """

    panel: Panel
    genetic_map: GeneticMap
    splits: RunSplits
    windows: list[Window]
    frequency: F32Array
    masks: TrainingMasks
    validation: Mapping[str, BoolArray]
    validation_digests: Mapping[str, str]
    rates: TrainingRates | None
    fields: Mapping[str, str]
    described: Mapping[str, str]


def load_training_data(config: FitConfig) -> TrainingData:
    """Reads and makes everything that the configuration names.

    Raises:
        InputError: A file cannot be used.
        ConfigError: The split leaves nobody to train or to validate, or an array has no site on the panel.
    """
    panel = load_panel(config.panel.path, region=config.panel.region, cache_dir=config.panel.cache_dir)
    return make_training_data(config, panel, map_for(panel, config.panel.map))


def make_training_data(config: FitConfig, panel: Panel, genetic_map: GeneticMap) -> TrainingData:
    """As `load_training_data`, of a panel and a map that are in memory."""
    design = design_split(config.split, panel)
    by_name = design.splits()
    splits = RunSplits(
        train=by_name[TRAIN],
        validation=by_name[VALIDATION],
        train_samples=design.samples(TRAIN),
        validation_samples=design.samples(VALIDATION),
    )
    rows = panel.rows_of(splits.train.reference)
    sites = MaskSites.of(panel, rows)
    curriculum = training_curriculum(config, panel)
    fixed = validation_masks(sites, seed=config.masks.validation_seed, array=_validation_array(config, panel))
    rates = None
    if config.retrieval is None:
        threads = config.trainer.copying_threads
        rates = estimate_training_rates(panel, genetic_map, splits.train, fixed, threads=threads)
    return TrainingData(
        panel=panel,
        genetic_map=genetic_map,
        splits=splits,
        windows=lay_windows(genetic_map.at(panel.positions), config.windows.sites, config.windows.flank_cm or 0),
        frequency=panel.alt_frequency(rows).astype(np.float32),
        masks=TrainingMasks(curriculum, sites, seed=config.seed),
        validation=fixed,
        validation_digests={name: mask_digest(mask) for name, mask in fixed.items()},
        rates=rates,
        fields=_fields(config, panel, genetic_map, splits, curriculum, fixed)
        | {"retrieval": readable(_retrieval(config, rates))},
        described=_described(config, panel, genetic_map, splits, rates),
    )


def training_curriculum(config: FitConfig, panel: Panel) -> CurriculumConfig:
    """The curriculum, with the sites of a real array where the configuration names one."""
    given = config.masks.array_sites
    return config.masks.curriculum(_array_sites(given, panel) if given else config.masks.array_policy())


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
    policy = SitesMask.matching(panel, read_typed_sites(path, panel.contig))
    if len(policy.sites) == panel.n_sites:
        raise ConfigError(f"{path} types every site of the panel: nothing is hidden")
    return policy


def _validation_array(config: FitConfig, panel: Panel) -> MaskPolicy:
    given = config.masks.validation_array_sites
    return _array_sites(given, panel) if given else config.masks.array_policy()


def _fields(
    config: FitConfig,
    panel: Panel,
    genetic_map: GeneticMap,
    splits: RunSplits,
    curriculum: CurriculumConfig,
    fixed: Mapping[str, BoolArray],
) -> dict[str, str]:
    masks = {**dataclasses.asdict(curriculum), "array": policy_digest(curriculum.array), "seed": config.seed}
    return {
        "panel": panel_digest(panel),
        "map": genetic_map.digest,
        "split": split_digest(splits.train),
        "validation": split_digest(splits.validation),
        "masks": text_digest("masks", readable(masks)),
        "validation_masks": text_digest("masks", *(mask_digest(fixed[name]) for name in sorted(fixed))),
        "windows": readable(to_table(config.windows)),
        "optimiser": readable({**to_table(config.optimiser), "epochs": config.epochs}),
        "seed": str(config.seed),
    }


def _described(
    config: FitConfig, panel: Panel, genetic_map: GeneticMap, splits: RunSplits, rates: TrainingRates | None
) -> dict[str, str]:
    return {
        "panel": f"{config.panel.path.name}, contig {panel.contig}, {panel.n_sites} sites, {panel.n_samples} samples",
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
