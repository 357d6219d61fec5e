"""What is let go of is not needed: kernels go on, and mappings that hold what no file does stay."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vcfrag_core import memory
from vcfrag_core.memory import _unchanged_mappings, release_compiler, share_one_heap

SMAPS = """\
{start:x}-{stop:x} {protection} 00000000 fe:00 260131                     {name}
Size:                  8 kB
Rss:                   8 kB
Anonymous:             {anonymous} kB
VmFlags: rd mr mw me
"""


def smaps(*mappings: tuple[int, str, str, int]) -> bytes:
    return "".join(
        SMAPS.format(start=start, stop=start + 0x2000, protection=protection, name=name, anonymous=anonymous)
        for start, protection, name, anonymous in mappings
    ).encode()


def test_unchanged_mappings__are_the_compilers_that_nothing_wrote_to() -> None:
    text = smaps(
        (0x1000, "r-xp", "/usr/bin/python3", 0),
        (0x4000, "r-xp", "/lib/llvmlite/binding/libllvmlite.so", 0),
        (0x8000, "r--p", "/lib/llvmlite/binding/libllvmlite.so", 8),
        (0xB000, "rw-p", "/lib/llvmlite/binding/libllvmlite.so", 0),
        (0xE000, "r--p", "/lib/libLLVM-15.so", 0),
        (0x11000, "r-xp", "", 0),
    )
    assert list(_unchanged_mappings(text)) == [(0x4000, 0x6000), (0xE000, 0x10000)]


@pytest.mark.parametrize("told", [b"", b"not what Linux says\n"])
def test_unchanged_mappings__none_where_nothing_is_told(told: bytes) -> None:
    assert list(_unchanged_mappings(told)) == []


def test_collect_seldom__leaves_what_a_start_made_alone_and_collects_what_comes_later() -> None:
    code = (
        "import gc\nfrom vcfrag_core.memory import collect_seldom, start_without_collecting\n"
        "start_without_collecting()\nkept = [[] for _ in range(40_000)]\n"
        "print(gc.get_stats()[0]['collections'] == 0 or gc.get_count()[0] >= 40_000)\n"
        "collect_seldom()\nbefore = gc.get_stats()[0]['collections']\n"
        "print(gc.get_freeze_count() >= 40_000)\nlater = [[] for _ in range(40_000)]\n"
        "print(gc.get_stats()[0]['collections'] > before)\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=300).split() == ["True"] * 3


def test_peak_bytes__is_the_programs_own() -> None:
    held = np.ones(40_000_000)
    words = [sys.executable, "-c", "from vcfrag_core.memory import peak_bytes; print(peak_bytes())"]
    found = int(subprocess.run(words, check=True, capture_output=True, timeout=300).stdout)
    assert 5_000_000 < found < held.nbytes < memory.peak_bytes()


def test_peak_bytes__where_no_file_tells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    assert memory.peak_bytes() > 5_000_000


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_memory__is_left_as_it_is_on_other_systems(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def refuse(_: None) -> None:
        raise error

    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    monkeypatch.setattr("ctypes.CDLL", refuse)
    share_one_heap()
    release_compiler()


SCRIPT = """
from vcfrag_core.memory import release_compiler, share_one_heap
share_one_heap()
import numpy as np
from vcfrag_core.panel import kernels
from vcfrag_core.panel.bits import pack

def mapped():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssFile"))

haplotypes = np.arange(60, dtype=np.uint8).reshape(6, 10) % 3 % 2
before = kernels.bit_counts(pack(haplotypes), np.arange(6))[:10]
held = mapped()
release_compiler()
print(held - mapped())
# One that is loaded, one that is not.
assert (kernels.bit_counts(pack(haplotypes), np.arange(6))[:10] == before).all()
assert (before == haplotypes.sum(axis=0)).all()
columns = kernels.observed_columns(pack(haplotypes), np.arange(6), np.array([1, 4]))
assert (columns[0] == haplotypes[:, 1] + 2 * haplotypes[:, 4]).all()
"""


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell what is mapped")
def test_release_compiler__kernels_go_on() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 10_000
