"""`vcfrag phase`: phases target samples."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from vcfrag_core.errors import ConfigError
from vcfrag_core.files.panel.calls import MissingRule
from vcfrag_core.phasing.serving import TargetsAsReference
from vcfrag_train.cli import options, target_options
from vcfrag_train.cli.outputs import OUTPUT
from vcfrag_train.imputing.config import ImputeConfig


def command(
    panel: Annotated[Path, typer.Option(help="Reference panel: phased VCF or BCF, or a prepared one.")],
    target: Annotated[
        list[Path], typer.Option(help="Targets, as for impute; write the option again for each of several files.")
    ],
    out: Annotated[Path, typer.Option(help="Output: .vcf.gz or .bcf; its index is written beside it."), OUTPUT],
    map: options.Map = None,
    region: target_options.Region = None,
    samples: Annotated[Path | None, typer.Option(help="Phase these samples alone: a file of one name a line.")] = None,
    sex: target_options.Sex = None,
    threads: options.Threads = 1,
    panel_missing: target_options.PanelMissing = MissingRule.REFUSE,
    fix_swaps: target_options.FixSwaps = False,
    fix_flips: target_options.FixFlips = False,
    qc: target_options.Qc = None,
    keep_going: target_options.KeepGoingWhere = None,
    targets_as_reference: target_options.Serving = TargetsAsReference.AUTO,
    allow_panel_samples: target_options.AllowPanelSamples = False,
) -> None:
    """Phases target samples against a panel; GT is phased, and PP says how sure the phase is.

    PP is the probability of a heterozygote's phase against the heterozygote before. Records that are no panel sites
    keep their calls.
    """
    from vcfrag_train.cli.progress import showing
    from vcfrag_train.phasing.phase import phase

    if not out.name.endswith((".vcf.gz", ".vcf.bgz", ".bcf")):
        raise ConfigError(f"--out {out}: phased genotypes are written as .vcf.gz or .bcf")
    config = ImputeConfig(
        panel=panel,
        targets=tuple(target),
        out=out,
        map=map,
        region=region,
        samples=samples,
        sex=sex,
        threads=threads,
        panel_missing=panel_missing,
        fix_swaps=fix_swaps,
        fix_flips=fix_flips,
        qc=qc,
        keep_going=frozenset(keep_going or ()),
        allow_panel_samples=allow_panel_samples,
        targets_as_reference=targets_as_reference,
        copying_only=True,
        command=shlex.join(["vcfrag", *sys.argv[1:]]),
    )
    with showing() as reporter:
        result = phase(config, reporter)
    typer.echo(
        f"wrote {result.out}: {result.n_records} records; {result.n_phased} of {result.n_samples} samples were not"
        f" phased before; QC in {result.qc}"
    )
