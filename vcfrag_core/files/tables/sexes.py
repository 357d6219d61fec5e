"""Reads who is a man and who is a woman: a table of two columns, or PLINK's .fam or .psam."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vcfrag_core.errors import SampleTableError
from vcfrag_core.files.pgen.tables import read_samples
from vcfrag_core.files.tables.text import numbered_lines
from vcfrag_core.targets.calls import Sex

_NAMES: Final = {
    **dict.fromkeys(("1", "m", "male"), Sex.MALE),
    **dict.fromkeys(("2", "f", "female"), Sex.FEMALE),
    **dict.fromkeys(("0", "-9", "na", "unknown", "."), None),
}


def read_sexes(path: str | Path) -> dict[str, Sex]:
    """Sexes by sample; whose is unknown is left out.

    Args:
        path: A name and `M` or `F` (`1` or `2`, `male` or `female`; `0` or `NA` where it is not known) on each line,
            with a header line or without; or PLINK's table of that name.

    Raises:
        SampleTableError: Another form, or two sexes for one name.
        InputError: See `read_samples`.
    """
    path = Path(path)
    if path.suffix in (".fam", ".psam"):
        return {name: sex for name, sex in zip(*read_samples(path), strict=True) if sex is not None}
    found: dict[str, Sex] = {}
    for place, (number, line) in enumerate(numbered_lines(path, SampleTableError)):
        words = line.split()
        if len(words) != 2 or words[1].lower() not in _NAMES:
            if place == 0 and len(words) == 2:
                continue
            raise SampleTableError(
                "needs a sample and its sex, M or F (1 or 2; 0 or NA if unknown)", path=path, record=f"line {number}"
            )
        sex = _NAMES[words[1].lower()]
        if sex is not None and found.setdefault(words[0], sex) is not sex:
            raise SampleTableError("is given both sexes", path=path, record=f"line {number}", sample=words[0])
    return found
