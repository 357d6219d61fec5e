"""From the parts of a validation to the scores of an epoch, and what is suspicious about them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from vcfrag_core.scoring.accuracy import BIN_NAMES
from vcfrag_train.training.module import ValidationPart
from vcfrag_train.training.validation.scores import in_order

MASKS: Final = ("half", "array")
WHO: Final = ("model", "copying", "random")
GROUPS: Final = ("all", "rare", "common", *BIN_NAMES)

# Share of the error with random neighbours that real ones must take away; where sites are dense, a thousand random
# haplotypes of a large panel hold relatives of everyone, and the gain in r² alone is small.
MIN_GAIN: Final = 0.03
# How many times the odds of chance the posterior must give the nearest candidates.
MIN_NEAREST: Final = 2.0


def score_name(mask: str, who: str, group: str = "all") -> str:
    """Column of an r²: `half_model_r2`, or `half_model_r2_rare` for a group of sites."""
    return f"{mask}_{who}_r2" if group == "all" else f"{mask}_{who}_r2_{group}"


SCORE_COLUMNS: Final = tuple(
    name
    for mask in MASKS
    for name in (
        f"{mask}_loss",
        *(score_name(mask, who, group) for who in WHO for group in GROUPS),
        f"{mask}_nearest_mass",
        f"{mask}_nearest_chance",
    )
)
EPOCH_COLUMNS: Final = (
    "epoch",
    "step",
    "train_loss",
    "train_r2",
    *SCORE_COLUMNS,
    "metric_version",
    "metric_change",
    "neighbours_changed",
    "seconds",
    "samples_per_second",
    "waiting_share",
    "waiting_for_index_share",
)
STEP_COLUMNS: Final = (
    "step",
    "epoch",
    "batch",
    "window",
    "loss",
    "learning_rate",
    "gradient_norm",
    "metric_version",
    "waiting_share",
    "waiting_for_index_share",
)


def judge(parts: Sequence[ValidationPart]) -> dict[str, float]:
    """The scores of all masks; the same bits however the parts were spread over processes."""
    scores: dict[str, float] = {}
    for mask in MASKS:
        mine = sorted((part for part in parts if part.mask == mask), key=lambda part: part.position)
        if mine:
            scores |= _scores(mask, mine)
    return scores


SCORES_COLUMNS: Final = ("epoch", "step", "data", "mask", "maf", "model", "copying")


def by_data_set(parts: Sequence[ValidationPart]) -> list[dict[str, float | str]]:
    """r² of model and copying by data set, mask and MAF bin: rows of scores.csv, but for epoch and step."""
    rows: list[dict[str, float | str]] = []
    for data in dict.fromkeys(part.data for part in sorted(parts, key=lambda part: part.position)):
        for mask in MASKS:
            mine = [part for part in parts if (part.data, part.mask) == (data, mask)]
            sums = {who: in_order((part.position, part.sums[who]) for part in mine) for who in ("model", "copying")}
            rows += [
                {"data": data, "mask": mask, "maf": name, **{who: sums[who].r2(name) for who in sums}}
                for name in BIN_NAMES
            ]
    return rows


def warnings_of(row: Mapping[str, float | int]) -> list[str]:
    """What a person should know of an epoch whose loss may look well."""
    found = []
    for mask in MASKS:
        real, shuffled = row.get(score_name(mask, "model")), row.get(score_name(mask, "random"))
        if real is not None and shuffled is not None and real - shuffled < MIN_GAIN * (1 - shuffled):
            found.append(
                f"retrieval is worthless on mask {mask!r}: r² {real:.3f} with its neighbours, "
                f"{shuffled:.3f} with random ones"
            )
        mass, chance = row.get(f"{mask}_nearest_mass"), row.get(f"{mask}_nearest_chance")
        if mass is not None and chance is not None and mass * (1 - chance) < MIN_NEAREST * chance * (1 - mass):
            found.append(
                f"copying ignores the nearest candidates on mask {mask!r}: {mass:.3f} of the posterior, {chance:.3f} "
                "by chance"
            )
        if real is not None and math.isnan(real):
            found.append(f"r² on mask {mask!r} is undefined: nothing varies at the hidden sites")
    return found


def _scores(mask: str, parts: Sequence[ValidationPart]) -> dict[str, float]:
    count = max(1, sum(part.count for part in parts))
    scores = {f"{mask}_loss": math.fsum(part.loss for part in parts) / count}
    for who in WHO:
        sums = in_order((part.position, part.sums[who]) for part in parts if who in part.sums)
        scores |= {score_name(mask, who, group): sums.r2(group) for group in GROUPS}
    scores[f"{mask}_nearest_mass"] = math.fsum(part.nearest[0] for part in parts) / len(parts)
    scores[f"{mask}_nearest_chance"] = math.fsum(part.nearest[1] for part in parts) / len(parts)
    return scores
