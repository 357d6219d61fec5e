"""A share of a panel's own samples, held out: targets with a known truth, and the panel without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from vcfrag_core.errors import ConfigError
from vcfrag_core.files.tables.sites import SiteKey
from vcfrag_core.panel.panel import Panel
from vcfrag_core.streams import Stream
from vcfrag_train.compare.peers import run_index
from vcfrag_train.compare.usage import run_measured
from vcfrag_train.simulate.files import write_phased_vcf


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Files of an evaluation.

    Attributes:
        panel: The panel without the targets and their families.
        target: The targets at the typed sites.
        truth: The targets at all sites.
    """

    panel: Path
    target: Path
    truth: Path


def draw_people(samples: Sequence[str], groups: Mapping[str, str], n: int, seed: int, purpose: str) -> tuple[str, ...]:
    """At least n samples in whole groups, drawn by the seed; in the order given.

    Args:
        samples: Whom to draw from.
        groups: Exclusion group of each.
        n: How many; the last group may bring more.
        seed: Of the draw.
        purpose: What they are for; for every purpose others are drawn.

    Raises:
        ConfigError: No sample is left to copy from.
    """
    names = sorted({groups[name] for name in samples})
    order = np.argsort(Stream("hold out", purpose, seed).raw(len(names)), kind="stable")
    chosen: list[str] = []
    for i in order.tolist():
        if len(chosen) >= n:
            break
        chosen += [name for name in samples if groups[name] == names[i]]
    if len(chosen) >= len(samples):
        raise ConfigError(f"of {len(samples)} samples {n} cannot be held out: nobody would be left to copy from")
    return tuple(name for name in samples if name in set(chosen))


def hold_out(
    path: Path, panel: Panel, targets: Sequence[str], without: Collection[str], typed: Collection[SiteKey], folder: Path
) -> HeldOut:
    """Writes the files.

    Args:
        path: The panel's file.
        panel: What is in it.
        targets: Samples to be targets.
        without: Further samples that the panel shall lack.
        typed: Sites that the targets are typed at.
        folder: Where the files go.

    Raises:
        ConfigError: The panel has none of the typed sites, or samples of one haplotype.
        ProgramError: bcftools is not there, or ended with an error.
    """
    if not panel.ploidy.is_diploid:
        raise ConfigError(
            f"{path}: {int(panel.ploidy.is_haploid.sum())} of {panel.n_samples} samples have one haplotype, and who is"
            " held out has two; take them out of the panel (`bcftools view -S ^FILE`)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    sites = zip(panel.positions.tolist(), panel.refs, panel.alts, strict=True)
    observed = np.flatnonzero([key in typed for key in sites])
    if not len(observed):
        raise ConfigError(f"the panel {path} has none of the typed sites")
    files = HeldOut(panel=folder / "panel.bcf", target=folder / "target.vcf.gz", truth=folder / "truth.bcf")
    names, others = folder / "targets.txt", folder / "left_out.txt"
    names.write_text("".join(f"{name}\n" for name in targets))
    others.write_text("".join(f"{name}\n" for name in panel.samples if name in {*targets, *without}))
    for chosen, out in ((f"^{others}", files.panel), (str(names), files.truth)):
        run_measured(["bcftools", "view", "-S", chosen, "-Ob", "-o", out, path], log=folder / "bcftools.log")
        run_index(out)
    write_phased_vcf(panel.select_samples(targets).select_sites(observed), files.target)
    return files
