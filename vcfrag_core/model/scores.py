"""How a model did on held-out samples, by MAF bin and size of the reference, and where copying did better."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from vcfrag_core.scoring.accuracy import BIN_NAMES, MAF_EDGES

MASKS: Final = ("half", "array")
DATA: Final = "data"
SIZE: Final = "reference_samples"
# References that differ by no more than this factor speak for each other.
_LIKE: Final = 2.0
# A reference this many times as large as the largest that was tried is one of which nobody knows.
_BEYOND: Final = 1.5

Bin = tuple[float, float]
Scores = Mapping[str, Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class ValidationScores:
    """The scores of an exported model.

    Attributes:
        table: r² by validation mask, MAF bin and `model` or `copying`, over all data sets; and, of several, under
            `data` the same of each by its name, beside its number of reference samples.
    """

    table: Scores

    @property
    def sizes(self) -> tuple[int, ...]:
        """Reference samples of the data sets, in rising order; none where there was one data set."""
        return tuple(sorted(int(one[SIZE]) for one in self._data.values()))

    def left_to_copying(self, n_samples: int | None = None) -> tuple[Bin, ...]:
        """MAF bins (low, high] in which the model did worse than copying on held-out samples, under any mask.

        Args:
            n_samples: Reference samples that it shall be used with: data sets of about that size are asked, or those
                of the nearest. Of several data sets their mean error counts; beyond the largest by more than half, the
                error of each of the largest. All data sets unless given.
        """
        asked = self._asked(n_samples)
        # The larger the reference, the less copying leaves to do: beyond those tried, each of the largest must agree.
        juries = [[one] for one in asked] if self._is_beyond(n_samples) else [asked]
        return _worse_bins(juries)

    def disputed(self, n_samples: int | None = None) -> tuple[Bin, ...]:
        """Those of `left_to_copying` in which the model did better in the mean over the data sets asked."""
        worse = _worse_bins([self._asked(n_samples)])
        return tuple(one for one in self.left_to_copying(n_samples) if one not in worse)

    def _is_beyond(self, n_samples: int | None) -> bool:
        return n_samples is not None and bool(self.sizes) and n_samples > _BEYOND * self.sizes[-1]

    def _asked(self, n_samples: int | None) -> list[Mapping[str, Any]]:
        return self._of_size(self.sizes[-1] if self._is_beyond(n_samples) else n_samples)

    @property
    def _data(self) -> Mapping[str, Mapping[str, Any]]:
        return self.table.get(DATA, {})

    def _of_size(self, n_samples: int | None) -> list[Mapping[str, Any]]:
        if not self._data:
            return [self.table]
        if n_samples is None:
            return list(self._data.values())
        factors = [max(one[SIZE] / n_samples, n_samples / one[SIZE]) for one in self._data.values()]
        most = max(_LIKE, min(factors))
        return [one for one, factor in zip(self._data.values(), factors, strict=True) if factor <= most]


def _worse_bins(juries: list[list[Mapping[str, Any]]]) -> tuple[Bin, ...]:
    """Bins in which the model was worse for any jury under any mask."""
    edges = zip(BIN_NAMES, MAF_EDGES[:-1], MAF_EDGES[1:], strict=True)
    return tuple(
        (low, high) for name, low, high in edges if any(_worse(jury, mask, name) for jury in juries for mask in MASKS)
    )


def _worse(asked: list[Mapping[str, Any]], mask: str, name: str) -> bool:
    """Whether the model's error is larger than that of copying, in the mean over what is asked."""
    total = 0.0
    for scores in asked:
        r2 = scores.get(mask, {}).get(name, {})
        model, copying = r2.get("model"), r2.get("copying")
        if model is not None and copying is not None:
            total += copying - model
    return total > 0
