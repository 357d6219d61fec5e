"""Words that name one file, those of a folder, or with `{contig}` in them one for each contig."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

# Stands for the contig in a file's name.
PLACE: Final = "{contig}"
# What lies in folders beside files that are read.
BESIDE: Final = (".tbi", ".csi", ".gzi", ".md5", ".txt", ".log", ".bgi", ".json", ".tsv")


def files_of_word(word: str, *, texts: bool = False) -> list[Path]:
    """The files that a word names; a plain file is looked at where it is opened.

    Args:
        word: A file, a folder, or a pattern.
        texts: Whether .txt files of a folder are among them, as genetic maps are.
    """
    path = Path(word)
    if PLACE in word:
        folder = Path(path.anchor) if path.is_absolute() else Path()
        pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else word
        glob = "*".join(re.sub(r"([*?[])", r"[\1]", part) for part in pattern.split(PLACE))
        return sorted(p for p in folder.glob(glob) if p.is_file())
    if path.is_dir():
        beside = set(BESIDE) - {".txt"} if texts else set(BESIDE)
        return sorted(p for p in path.iterdir() if p.is_file() and p.suffix not in beside and p.name[0] != ".")
    return [path]
