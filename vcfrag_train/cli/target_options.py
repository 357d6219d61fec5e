"""Options of commands that read targets against a panel: `impute`, `plan` and `phase`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcfrag_core.files.panel.calls import MissingRule
from vcfrag_core.phasing.serving import TargetsAsReference
from vcfrag_train.cli import groups
from vcfrag_train.cli.outputs import OUTPUT
from vcfrag_train.imputing.config import KeepGoing

Region = Annotated[
    str | None, typer.Option(help="Contig or CONTIG:START-STOP, of panel and target.", rich_help_panel=groups.READ)
]
Sex = Annotated[
    Path | None,
    typer.Option(
        help="On X, who is a man: a name and M or F a line, or a .fam or .psam; without it, the X calls tell.",
        rich_help_panel=groups.READ,
    ),
]
PanelMissing = Annotated[
    MissingRule,
    typer.Option(
        help="Missing alleles of the panel: refuse them, or take them for the reference's.", rich_help_panel=groups.READ
    ),
]
FixSwaps = Annotated[
    bool, typer.Option("--fix-swaps", help="Repair records with REF and ALT exchanged.", rich_help_panel=groups.CHECKS)
]
FixFlips = Annotated[
    bool, typer.Option("--fix-flips", help="Repair records on the other strand.", rich_help_panel=groups.CHECKS)
]
Qc = Annotated[
    Path | None,
    typer.Option(
        help="Table of records that were not simply used; OUT.qc.tsv without it.", rich_help_panel=groups.WRITTEN
    ),
    OUTPUT,
]
KeepGoingWhere = Annotated[
    list[KeepGoing] | None,
    typer.Option(
        help="Go on where sparse: a stretch has too few typed sites; damaged: many sites are damaged, or samples lack"
        " reference calls.",
        rich_help_panel=groups.CHECKS,
    ),
]
Serving = Annotated[
    TargetsAsReference,
    typer.Option(
        help="Phase unphased targets with each other as references, beside the panel: auto does where they are a"
        " quarter as many as its samples, or more.",
        rich_help_panel=groups.PHASE,
    ),
]
AllowPanelSamples = Annotated[
    bool,
    typer.Option(
        "--allow-panel-samples",
        help="Let targets that are in the panel copy from themselves.",
        rich_help_panel=groups.CHECKS,
    ),
]
