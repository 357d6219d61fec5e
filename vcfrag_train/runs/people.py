"""Who is one person, or of one family, over all data sets of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vcfrag_core.files.tables.samples import read_sample_table
from vcfrag_core.panel.split_design import joined_groups, pedigree_groups
from vcfrag_train.runs.folder import RunSplits


def groups_of_all(every: Iterable[RunSplits], tables: Iterable[Path]) -> dict[str, str]:
    """Sample to a group that holds in every data set: people of one name are one, and every table speaks for all.

    So are families of one name, though tables of unrelated cohorts may both number theirs from 1: whoever is kept
    apart by mistake trains on relatives of who validates, and nothing would tell; who is joined by mistake is refused.

    Args:
        every: The splits of the data sets.
        tables: Their tables of samples. Whoever a table joins is joined everywhere, also by people whom no panel has.

    Raises:
        SampleTableError: A table cannot be read.
    """
    pedigrees = [pedigree_groups(read_sample_table(path)) for path in sorted(set(tables))]
    recorded = [split.groups for splits in every for split in (splits.train, splits.validation)]
    return joined_groups([*pedigrees, *recorded])
