"""The imputer of a contig as a run asks for it, and the dosages that it makes of targets."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from vcfrag_core.imputation.imputer import Imputer
from vcfrag_core.imputation.integrate import Integrated
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.windows import Window
from vcfrag_core.phasing.phased import Phased
from vcfrag_core.targets.targets import Targets
from vcfrag_core.types import F32Array

if TYPE_CHECKING:
    from vcfrag_core.imputation.corrector import Corrector
    from vcfrag_core.phasing.phaser import Phaser
    from vcfrag_train.imputing.checks import CheckedTarget
    from vcfrag_train.imputing.config import ImputeConfig

# A panel so many times smaller or larger than that of a model's training is told.
OTHER_SIZE: Final = 4
_NEVER_VALIDATED: Final = (
    "; it was never validated on held-out samples, so that no bin is left to copying: finish an epoch of its run, or"
    " see with `vcfrag compare --hold-out` whether it is better than --copying-only"
)


def dosages_of(
    imputer: Imputer, targets: Targets, phased: Phased | None, windows: Sequence[Window]
) -> Generator[tuple[Window, F32Array, F32Array | None]]:
    """Windows, (Q, L) haplotype dosages, and where phase was drawn (S, L) probabilities that both carry ALT.

    Args:
        imputer: Imputes.
        targets: The targets.
        phased: Their draws, where the phase of any is not known.
        windows: Those to impute.
    """
    if phased is not None:
        with contextlib.closing(
            cast("Generator[tuple[Window, Integrated]]", imputer.impute_phased(phased, windows))
        ) as drawn:
            for window, integrated in drawn:
                yield window, integrated.dosage, integrated.both
        return
    found = imputer.impute_windows(targets.alleles, targets.observed, targets.names, windows, ploidy=targets.ploidy)
    with contextlib.closing(cast("Generator[tuple[Window, F32Array]]", found)) as known:
        for window, dosage in known:
            yield window, dosage, None


@contextlib.contextmanager
def open_imputer(config: ImputeConfig, checked: CheckedTarget, genetic_map: GeneticMap) -> Iterator[Imputer]:
    """An imputer that retrieves from the daemon named, or in this process."""
    # A chunk checks nothing, and starts without what does.
    from vcfrag_core.targets.people import groups_of_matches
    from vcfrag_train.imputing.checks import check_missing
    from vcfrag_train.retrievers import retriever_for

    panel = checked.panel
    with retriever_for(panel, config.daemon, threads=config.threads) as retriever:
        imputer = Imputer(
            panel,
            genetic_map,
            retriever=retriever,
            parameters=config.parameters,
            groups=groups_of_matches(checked.people),
            threads=config.threads,
            corrector=corrector_for(config.copying_only, config.checkpoint, panel.digest, genetic_map.digest),
        )
        check_missing(checked, imputer.windows(checked.observed), retriever.max_missing_share)
        yield imputer


def open_phaser(config: ImputeConfig, checked: CheckedTarget, genetic_map: GeneticMap) -> Phaser | None:
    """Phases a contig's samples; None where the phase of all is known, so that nothing of phasing is imported."""
    if checked.phase_sets is None:
        return None
    from vcfrag_core.phasing.phaser import Phaser
    from vcfrag_core.targets.people import groups_of_matches

    return Phaser(checked.panel, genetic_map, groups=groups_of_matches(checked.people), threads=config.threads)


def corrector_for(copying_only: bool, checkpoint: Path | None, panel_digest: str, map_digest: str) -> Corrector | None:
    """The model that corrects copying: the one that ships, or a checkpoint's; None by copying alone."""
    if copying_only:
        return None
    # What reads models takes part of a start by copying alone, which has none.
    if checkpoint is None:
        from vcfrag_core.imputation.load import load_model

        return load_model()
    from vcfrag_train.models.choose import named_corrector

    return named_corrector(checkpoint, {"panel": panel_digest, "map": map_digest})


def way_of(imputer: Imputer, told: set[str]) -> str:
    """How the sites are imputed, in words that end a line.

    Args:
        imputer: Imputes them.
        told: What of a model was said before in this run, to which what is said is added.
    """
    corrector = imputer.corrector
    if corrector is None:
        return "by copying alone"
    bins = ", ".join(f"{100 * low:g}-{100 * high:g} %" for low, high in corrector.left_to_copying)
    kept = f"; by copying alone at MAF {bins}, where the model was no better on held-out samples" if bins else ""
    other = f", which was trained on another {' and '.join(corrector.differs)}" if corrector.differs else ""
    never = "" if corrector.is_validated else _NEVER_VALIDATED
    notes = [note for note in (never, _other_size(imputer.panel, corrector)) if note not in told]
    told.update(notes)
    return f"by copying, corrected by the trained model{other}{kept}{''.join(notes)}"


def _other_size(panel: Panel, corrector: Corrector) -> str:
    """What to say where the panel is much smaller or larger than that of the model's training."""
    trained = corrector.reference_samples
    if trained is None or trained[0] / OTHER_SIZE <= panel.n_samples <= trained[1] * OTHER_SIZE:
        return ""
    sizes = " to ".join(str(size) for size in sorted(set(trained)))
    return (
        f"; it was trained with {sizes} reference samples and this panel has {panel.n_samples}:"
        " --copying-only imputes without it, and `vcfrag compare --hold-out` tells which is better"
    )
