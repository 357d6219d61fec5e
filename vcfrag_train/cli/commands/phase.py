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
from vcfrag_train.cli.outputs import OUTPUT
from vcfrag_train.imputing.config import ImputeConfig, KeepGoing


def command(
    panel: Annotated[Path, typer.Option(help="Reference panel: phased VCF or BCF, or a prepared one.")],
    target: Annotated[
        list[Path], typer.Option(help="Targets, as for impute; write the option again for each of several files.")
    ],
    out: Annotated[Path, typer.Option(help="Output: .vcf.gz or .bcf; its index is written beside it."), OUTPUT],
    map: Annotated[
        Path | None, typer.Option(help="Genetic map (PLINK, SHAPEIT or Beagle); 1 cM per Mb without one.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Contig or CONTIG:START-STOP, of panel and target.")] = None,
    samples: Annotated[Path | None, typer.Option(help="Phase these samples alone: a file of one name a line.")] = None,
    sex: Annotated[
        Path | None,
        typer.Option(
            help="On X, who is a man: a name and M or F a line, or a .fam or .psam; without it, the X calls tell."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads that read, copy and compress.")] = 1,
    panel_missing: Annotated[
        MissingRule, typer.Option(help="Missing alleles of the panel: refuse them, or take them for the reference's.")
    ] = MissingRule.REFUSE,
    fix_swaps: Annotated[bool, typer.Option("--fix-swaps", help="Use records with REF and ALT exchanged.")] = False,
    fix_flips: Annotated[bool, typer.Option("--fix-flips", help="Use records on the other strand.")] = False,
    qc: Annotated[
        Path | None, typer.Option(help="Table of records that were not simply used; OUT.qc.tsv without it.")
    ] = None,
    keep_going: Annotated[
        list[KeepGoing] | None,
        typer.Option(help="Go on where sparse: a stretch has too few typed sites; damaged: many sites are damaged."),
    ] = None,
    targets_as_reference: Annotated[
        TargetsAsReference,
        typer.Option(
            help="Phase unphased targets with each other as references, beside the panel: auto does where they are a"
            " quarter as many as its samples, or more."
        ),
    ] = TargetsAsReference.AUTO,
    allow_panel_samples: Annotated[
        bool, typer.Option("--allow-panel-samples", help="Let targets that are in the panel copy from themselves.")
    ] = False,
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
