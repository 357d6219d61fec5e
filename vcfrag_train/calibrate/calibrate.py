"""`calibrate` from files to a file: masks, samples, the search, and the scores on samples that it did not see."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from vcfrag_core.copying.parameter_search import Found, SearchConfig, search
from vcfrag_core.copying.parameters import CopyingParameters, parameters_for
from vcfrag_core.errors import ConfigError
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.panel.contigs import region_in
from vcfrag_core.files.tables.genetic_map import map_for
from vcfrag_core.files.tables.samples import read_sample_table
from vcfrag_core.files.tables.sites import every_coding, read_typed_sites
from vcfrag_core.hashing import text_digest
from vcfrag_core.masks.draw import ArrayLikeMask, MaskPolicy, MaskSites, RandomMask, SitesMask, draw_mask
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.split_design import exclusion_groups
from vcfrag_core.retrieval.identity import mask_digest
from vcfrag_core.scoring.copying import Change, CopyingScore, changes
from vcfrag_core.settings import to_table
from vcfrag_core.streams import Stream
from vcfrag_core.types import BoolArray
from vcfrag_train.calibrate.leave_one_out import CopyingBench
from vcfrag_train.calibrate.parameters import ParameterFile, write_parameters
from vcfrag_train.reporter import SILENT, Reporter
from vcfrag_train.retrievers import retriever_for

Density = Literal["dense", "array"]
DENSE_HIDDEN_SHARE: Final = 0.5
MIN_CHECKED: Final = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateConfig:
    """What to calibrate for, and on whom.

    Exactly one of `typed`, `density` and `observed_share` says which sites are observed.

    Attributes:
        panel: Reference panel.
        out: The TOML file to write.
        map: Genetic map; without one 1 cM per Mb is assumed.
        typed: The typed sites: a VCF, or a table chrom, pos, ref, alt.
        density: `array` for a drawn array-like mask, `dense` for a random half of the sites.
        observed_share: Share of the sites that a random mask observes.
        samples: Panel samples that stand for targets in the search; as many others check what it found.
        seed: Of samples, mask and resamples.
        daemon: HOST:PORT of a running daemon; without one it runs in this process.
        samples_table: Families: members of a sample's family are not copied from.
        region: Contig or part of it, of the panel.
        threads: Threads of copying and of a daemon in this process.
        resamples: Bootstrap resamples behind the intervals.
        search: How long to search.
        command: The command line, for the record.
    """

    panel: Path
    out: Path
    map: Path | None = None
    typed: Path | None = None
    density: Density | None = None
    observed_share: float | None = None
    samples: int = 50
    seed: int = 1
    daemon: str | None = None
    samples_table: Path | None = None
    region: str | None = None
    threads: int = 1
    resamples: int = 1000
    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)
    command: str = "vcfrag calibrate"

    def __post_init__(self) -> None:
        given = [name for name in ("typed", "density", "observed_share") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigError(
                "calibration is for one density: give one of --typed FILE, --density dense|array and --observed-share X"
            )
        if self.observed_share is not None and not 0 < self.observed_share < 1:
            raise ConfigError(f"--observed-share lies between 0 and 1, got {self.observed_share}")
        if self.samples < 2 or self.threads < 1 or self.resamples < 0 or self.seed < 0:
            raise ConfigError("--samples >= 2, --threads >= 1, --resamples >= 0 and --seed >= 0 are needed")
        if self.region is not None and self.daemon is not None:
            raise ConfigError(
                "--region takes a part of the panel, but a daemon serves whole ones: leave one of them out"
            )
        if self.out.suffix != ".toml":
            raise ConfigError(f"--out {self.out} must end in .toml")
        if not self.out.parent.is_dir():
            raise ConfigError(f"--out {self.out}: there is no folder {self.out.parent}")


def calibrate(config: CalibrateConfig, reporter: Reporter = SILENT) -> ParameterFile:
    """Fits the parameters and writes them with their provenance.

    Raises:
        InputError and its kinds: The panel, the map, the table or the typed sites cannot be used.
        ConfigError: Too few panel samples.
        RangeError: Nothing at the hidden sites can be scored.
        ServiceError, IdentityError: The daemon cannot serve this, or serves something else.
    """
    if config.daemon is not None:
        from vcfrag_train.client.wait import wait_until_answering

        wait_until_answering(config.daemon)
    region = None if config.region is None else region_in(config.panel, config.region)
    panel = load_panel(config.panel, region=region, threads=config.threads)
    genetic_map = map_for(panel, config.map)
    table = None if config.samples_table is None else read_sample_table(config.samples_table)
    groups = exclusion_groups(panel.samples, table)
    fitted, checked = choose_samples(panel, config.samples, config.seed)
    observed = observed_sites(config, panel)
    reporter.say(
        f"{int(observed.sum())} of {panel.n_sites} sites observed, {len(fitted)} samples fit, {len(checked)} check"
    )
    with retriever_for(panel, config.daemon, threads=config.threads) as retriever:

        def bench(samples: Sequence[str]) -> CopyingBench:
            return CopyingBench(
                panel=panel,
                genetic_map=genetic_map,
                retriever=retriever,
                samples=samples,
                observed=observed,
                groups=groups,
                threads=config.threads,
            )

        fit = bench(fitted)
        start = parameters_for(fit.observed_per_cm, int(observed.sum()))
        found = search(_told(fit, reporter), start, config.search)
        scores = {"fit": _compared(fit, start, found.parameters, config)}
        if len(checked) >= MIN_CHECKED:
            scores["check"] = _compared(bench(checked), start, found.parameters, config)
    content = ParameterFile(
        parameters=found.parameters,
        provenance=_provenance(config, panel, genetic_map, observed, (fitted, checked), fit, start, found),
        scores=scores,
    )
    write_parameters(content, config.out)
    warning = warning_of(content.scores)
    if warning is not None:
        reporter.say(f"warning: {warning}")
    return content


def warning_of(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str | None:
    """What speaks against parameters, by their scores; None where samples that they were not fitted to have less error.

    Args:
        scores: Of a `ParameterFile`, before and after.
    """
    if "check" not in scores:
        return "no panel samples are left to check these parameters on: give fewer --samples"
    error = scores["check"]["mean_error"]
    if error["after"] < error["before"]:
        return None
    return (
        f"samples that the parameters were not fitted to have no less error with them ({error['after']:.5f}) than with"
        f" the rule's ({error['before']:.5f}): impute without --parameters, or calibrate on more --samples"
    )


def choose_samples(panel: Panel, n: int, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """n panel samples to fit on, and up to n others to check on, drawn by the seed; each in the panel's order.

    Raises:
        ConfigError: The panel has no more than n samples.
    """
    if panel.n_samples <= n:
        raise ConfigError(f"--samples {n}: the panel has {panel.n_samples}, and somebody must be left to copy from")
    order = np.argsort(Stream("calibrate", seed).raw(panel.n_samples), kind="stable")

    def named(chosen: Sequence[int]) -> tuple[str, ...]:
        return tuple(panel.samples[i] for i in sorted(chosen))

    return named(order[:n].tolist()), named(order[n : 2 * n].tolist())


def observed_sites(config: CalibrateConfig, panel: Panel) -> BoolArray:
    """(V,) the mask that the parameters are fitted for."""
    policy: MaskPolicy
    if config.typed is not None:
        policy = SitesMask.matching(
            panel, every_coding(read_typed_sites(config.typed, panel.contig, threads=config.threads))
        )
    elif config.density == "array":
        policy = ArrayLikeMask()
    else:
        policy = RandomMask(DENSE_HIDDEN_SHARE if config.observed_share is None else 1 - config.observed_share)
    return draw_mask(policy, MaskSites.of(panel), seed=config.seed, split="calibrate", epoch=0, visit=0)


def _told(bench: CopyingBench, reporter: Reporter) -> Callable[[CopyingParameters], float]:
    def loss(parameters: CopyingParameters) -> float:
        score = bench.score(parameters)
        reporter.say(f"error {score.loss()[0]:.5f}  log-loss {score.mean_log_loss()[0]:.5f}  {brief(parameters)}")
        return float(score.loss()[0])

    return loss


def brief(parameters: CopyingParameters) -> str:
    """The parameters on one line."""
    scales = "/".join(map(str, parameters.scales))
    return (
        f"scales {scales} k {parameters.k} flank {parameters.flank_cm:g} cM "
        f"switch {parameters.switch_per_cm:g}/cM mismatch {parameters.mismatch:g}"
    )


def _compared(
    bench: CopyingBench, start: CopyingParameters, chosen: CopyingParameters, config: CalibrateConfig
) -> dict[str, Any]:
    before: CopyingScore = bench.score(start)
    found = changes(before, bench.score(chosen), resamples=config.resamples, seed=config.seed)
    return {name: _change(change) for name, change in found.items()}


def _change(change: Change) -> dict[str, Any]:
    """Figures with six digits; the interval is left out where there were no resamples."""
    figures = {
        "before": change.before,
        "after": change.after,
        "difference": change.difference.value,
        "low": change.difference.low,
        "high": change.difference.high,
    }
    return {name: round(value, 8) for name, value in figures.items() if np.isfinite(value)}


def _provenance(
    config: CalibrateConfig,
    panel: Panel,
    genetic_map: GeneticMap,
    observed: BoolArray,
    samples: tuple[tuple[str, ...], tuple[str, ...]],
    bench: CopyingBench,
    start: CopyingParameters,
    found: Found,
) -> Mapping[str, Any]:
    fitted, checked = samples
    return {
        "version": importlib.metadata.version("vcfrag"),
        "command": config.command,
        "panel": panel.digest,
        "panel_file": str(config.panel),
        "contig": panel.contig,
        "map": genetic_map.digest,
        "map_source": genetic_map.source,
        "mask": mask_digest(observed),
        "mask_kind": _mask_text(config),
        "observed_sites": int(observed.sum()),
        "observed_per_cm": round(bench.observed_per_cm, 3),
        "groups": text_digest("groups", *(f"{k}={v}" for k, v in sorted(bench.groups.items()))),
        "seed": config.seed,
        "fit_samples": list(fitted),
        "check_samples": list(checked),
        "parameters_tried": found.n_tried,
        "start": to_table(start),
    }


def _mask_text(config: CalibrateConfig) -> str:
    if config.typed is not None:
        return f"typed sites of {config.typed}"
    return config.density or f"random, {config.observed_share:g} of the sites observed"
