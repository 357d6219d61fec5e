"""Files of panels that are kept in compact blocks: read in bounded memory, checked when used."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.compact_panels import BLOCK_SITES, every_panel_is_large
from tests.impute_cohort import MakePanel
from tests.vcf_text import panel_text, record, vcf_text, write_vcf
from vcfrag_core.errors import CacheError
from vcfrag_core.files.panel import binary
from vcfrag_core.files.panel.build import PanelFilter, build_prepared
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.files.panel.prepared import write_prepared
from vcfrag_core.files.panel.reader import read_panel, read_panels
from vcfrag_core.panel.compact import CompactBits
from vcfrag_core.panel.keys import haplotype_keys
from vcfrag_core.panel.panel import Panel

N_SITES = 300


@pytest.fixture
def vcf(tmp_path: Path, make_panel: MakePanel) -> Path:
    panel = make_panel(n_samples=20, n_sites=N_SITES, seed=1, contig="20")
    return write_vcf(tmp_path / "panel.bcf", panel_text(panel))


@pytest.fixture
def expected(vcf: Path) -> Panel:
    """The panel in memory."""
    return read_panel(vcf)


@pytest.fixture
def large() -> Iterator[None]:
    with every_panel_is_large():
        yield


@pytest.mark.usefixtures("large")
def test_load_panel__a_large_one_is_read_once_and_opened_from_the_cache(
    vcf: Path, expected: Panel, tmp_path: Path
) -> None:
    first, again = load_panel(vcf, cache_dir=tmp_path / "cache"), load_panel(vcf, cache_dir=tmp_path / "cache")
    for panel in (first, again):
        assert isinstance(panel.bits, CompactBits)
        assert panel.digest == expected.digest
        np.testing.assert_array_equal(panel.keys, haplotype_keys(expected))
        np.testing.assert_array_equal(panel.packed, expected.packed)
        np.testing.assert_array_equal(panel.alt_frequency(), expected.alt_frequency())
        assert (panel.refs, panel.site_ids, panel.samples) == (expected.refs, expected.site_ids, expected.samples)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".panel"]
    assert load_panel(vcf, cache_dir=tmp_path / "cache", verify_source=True).digest == expected.digest


@pytest.mark.usefixtures("large")
def test_read_panel__its_scratch_file_has_no_name_and_goes_elsewhere_if_need_be(
    vcf: Path, expected: Panel, tmp_path: Path
) -> None:
    folder = tmp_path / "made" / "here"
    panel = read_panels(vcf, scratch=folder)[0]
    assert panel.digest == expected.digest
    assert list(folder.iterdir()) == []
    blocked = tmp_path / "file"
    blocked.touch()
    assert read_panels(vcf, scratch=blocked / "below")[0].digest == expected.digest


@pytest.mark.usefixtures("large")
def test_build_prepared__of_a_large_panel_keeps_what_is_asked_for(vcf: Path, expected: Panel, tmp_path: Path) -> None:
    whole, few = tmp_path / "whole.vcfrag", tmp_path / "few.vcfrag"
    (entry,) = build_prepared(whole, [vcf], PanelFilter())
    assert entry.digest == expected.digest
    start, stop = int(expected.positions[70]), int(expected.positions[199])
    part = load_panel(whole, region=f"20:{start}-{stop}")
    assert isinstance(part.bits, CompactBits)
    assert part.digest == expected.select_sites(np.arange(70, 200)).digest
    again = tmp_path / "again.vcfrag"
    write_prepared(again, [part], {})
    assert load_panel(again).digest == part.digest
    kept = PanelFilter(samples=expected.samples[3:9], min_copies=2)
    build_prepared(few, [whole], kept)
    assert load_panel(few).digest == kept.applied(expected).digest


@pytest.mark.usefixtures("large")
def test_read_panels__men_have_one_haplotype_in_a_large_panel_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    calls = [[f"{rng.integers(2)}|{rng.integers(2)}", str(rng.integers(2)), "0|1"] for _ in range(150)]
    records = [record(5 * (i + 1), row, contig="X") for i, row in enumerate(calls)]
    panel = read_panel(write_vcf(tmp_path / "x.bcf", vcf_text(("A", "B", "C"), records, contigs={"X": 999})))
    assert isinstance(panel.bits, CompactBits)
    assert str(panel.ploidy) == "2x1 1x1 2x1"
    wanted = [[int(a) for a in "|".join(row).split("|")] for row in calls]
    np.testing.assert_array_equal(panel.haplotypes().T, wanted)
    alleles = rng.integers(0, 2, (400, 6))
    alleles[:, 3] = alleles[:, 2]
    records = [
        record(5 * (i + 1), [f"{a}|{b}", f"{c}|{d}", f"{e}|{f}"], contig="chrX")
        for i, (a, b, c, d, e, f) in enumerate(alleles.tolist())
    ]
    (panel,) = read_panels(write_vcf(tmp_path / "men.bcf", vcf_text(("A", "B", "C"), records, contigs={"chrX": 9999})))
    assert str(panel.ploidy) == "2x1 1x1 2x1"
    np.testing.assert_array_equal(panel.haplotypes().T, alleles[:, [0, 1, 2, 4, 5]])


@pytest.mark.usefixtures("large")
def test_large_panel__every_changed_byte_of_its_blocks_is_told_when_it_is_used(
    vcf: Path, expected: Panel, tmp_path: Path
) -> None:
    path = tmp_path / "panel.vcfrag"
    build_prepared(path, [vcf], PanelFilter())
    content = bytearray(path.read_bytes())
    bits = load_panel(path).bits
    assert isinstance(bits, CompactBits)
    second = bytes(bits.store.content(1))
    at = content.index(second)
    for place in range(at, at + len(second), len(second) // 7):
        content[place] ^= 0x10
        path.chmod(0o600)
        path.write_bytes(content)
        content[place] ^= 0x10
        panel = load_panel(path)
        unharmed = panel.haplotypes(None, 0, BLOCK_SITES)
        np.testing.assert_array_equal(unharmed, expected.haplotypes(None, 0, BLOCK_SITES))
        with pytest.raises(CacheError, match="block 1 is damaged or cut short") as refused:
            panel.haplotypes(None, BLOCK_SITES, BLOCK_SITES + 1)
        assert refused.value.reason == "CACHE"
        assert str(path) in str(refused.value)


@pytest.mark.usefixtures("large")
def test_load_panel__a_damaged_block_of_the_cache_is_made_again_when_it_is_used(
    vcf: Path, expected: Panel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    entry = damaged_entry(vcf, folder)
    panel = load_panel(vcf, cache_dir=folder)
    some = panel.select_sites(np.arange(10, N_SITES - 10))
    assert caplog.text == ""
    np.testing.assert_array_equal(panel.haplotypes(), expected.haplotypes())
    np.testing.assert_array_equal(some.haplotypes(), expected.haplotypes(None, 10, N_SITES - 10))
    assert caplog.text.count("panel cache is made again") == 1
    assert f"{entry}: its block 1 is damaged" in caplog.text
    caplog.clear()
    np.testing.assert_array_equal(load_panel(vcf, cache_dir=folder).haplotypes(), expected.haplotypes())
    assert caplog.text == ""


@pytest.mark.usefixtures("large")
def test_load_panel__a_block_damaged_in_the_run_that_read_the_panel_is_made_again(
    vcf: Path, expected: Panel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    panel = load_panel(vcf, cache_dir=folder)
    (entry,) = folder.iterdir()
    assert isinstance(panel.bits, CompactBits)
    damage(entry, bytes(panel.bits.store.content(1)))
    np.testing.assert_array_equal(panel.haplotypes(), expected.haplotypes())
    assert f"{entry}: its block 1 is damaged" in caplog.text


@pytest.mark.usefixtures("large")
def test_load_panel__a_damaged_block_is_refused_where_its_source_has_changed(
    vcf: Path, expected: Panel, tmp_path: Path, make_panel: MakePanel
) -> None:
    folder = tmp_path / "cache"
    damaged_entry(vcf, folder)
    panel = load_panel(vcf, cache_dir=folder)
    content, status = vcf.read_bytes(), vcf.stat()
    write_vcf(vcf, panel_text(make_panel(n_samples=20, n_sites=N_SITES, seed=2, contig="20")))
    for _ in range(2):
        with pytest.raises(CacheError, match="holds another panel now"):
            panel.haplotypes()
    # What is put back is what it was, and not what was read in between.
    vcf.write_bytes(content)
    os.utime(vcf, ns=(status.st_atime_ns, status.st_mtime_ns))
    np.testing.assert_array_equal(load_panel(vcf, cache_dir=folder).haplotypes(), expected.haplotypes())


def damage(path: Path, block: bytes) -> None:
    """Changes a bit of the block in the file."""
    content = bytearray(path.read_bytes())
    content[content.index(block) + len(block) // 2] ^= 0x10
    path.chmod(0o600)
    path.write_bytes(content)


def damaged_entry(vcf: Path, folder: Path) -> Path:
    """The panel's only cache entry, whose second block is damaged."""
    bits = load_panel(vcf, cache_dir=folder).bits
    assert isinstance(bits, CompactBits)
    (entry,) = folder.iterdir()
    damage(entry, bytes(bits.store.content(1)))
    return entry


@pytest.mark.usefixtures("large")
def test_large_panel__cut_short_is_refused_when_it_is_opened_or_used(vcf: Path, tmp_path: Path) -> None:
    entry, table = tmp_path / "panel.bin", {"made": "here"}
    binary.write_panel_file(entry, read_panel(vcf), table)
    content = entry.read_bytes()
    for n in range(0, len(content), 997):
        short = tmp_path / f"{n}.bin"
        short.write_bytes(content[:n])
        short.chmod(0o600)
        with pytest.raises(CacheError, match=r"cut short|damaged"):
            binary.read_panel_file(short, table)
    panel = binary.read_panel_file(entry, table)
    entry.chmod(0o600)
    os.truncate(entry, len(content) - 10)
    panel.haplotypes(None, 0, BLOCK_SITES)
    with pytest.raises(CacheError, match="block 4 is damaged or cut short"):
        panel.haplotypes()
    newer = tmp_path / "newer.bin"
    newer.write_bytes(b"vcfragC9" + content[8:])
    newer.chmod(0o600)
    with pytest.raises(CacheError, match="of this version"):
        binary.read_panel_file(newer, table)


@pytest.mark.usefixtures("large")
def test_load_panel__a_block_that_cannot_be_read_is_made_again(
    vcf: Path, expected: Panel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    load_panel(vcf, cache_dir=folder)
    panel = load_panel(vcf, cache_dir=folder)
    (entry,) = folder.iterdir()
    # Reading from a descriptor that is open for writing fails, as from a bad sector.
    unreadable = os.open(tmp_path / "unreadable", os.O_WRONLY | os.O_CREAT)
    for opened in list(Path("/proc/self/fd").iterdir()):
        if opened.resolve() == entry:
            os.dup2(unreadable, int(opened.name))
    os.close(unreadable)
    np.testing.assert_array_equal(panel.haplotypes(), expected.haplotypes())
    assert f"{entry}: its block 0 cannot be read" in caplog.text


PEAK_OF_WRITING = """
import re, sys
from pathlib import Path
import numpy as np
from vcfrag_core.files.panel.prepared import read_prepared, write_prepared
from vcfrag_core.panel import compact, storage
from vcfrag_core.panel.growing_bits import GrowingBits
from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy

H = 20_000

def peak_bytes():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))

def write(n, path):
    alleles, growing = np.zeros((64, H), dtype=np.bool_), GrowingBits(H)
    for start in range(0, n, 64):
        alleles[:] = False
        alleles[np.arange(64), np.arange(64) + start % (H - 64)] = True
        growing.append(alleles)
    panel = Panel(
        contig="1", positions=np.arange(1, n + 1, dtype=np.int32), refs=("A",) * n, alts=("C",) * n,
        site_ids=(".",) * n, samples=tuple(f"S{i}" for i in range(H // 2)), ploidy=Ploidy.diploid(H // 2),
        bits=growing.finish(),
    )
    write_prepared(path, [panel], {})
    (again,) = read_prepared(path, None)
    assert again.digest == panel.digest
    assert again.alt_frequency().tolist() == [1 / H] * n

storage.DENSE_BYTES, compact._ROWS_BYTES = 0, 16 << 20
folder = Path(sys.argv[1])
write(8_192, folder / "one")
before = peak_bytes()
write(57_344, folder / "seven")
print((peak_bytes() - before) / (H * 57_344 / 8))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure memory")
def test_write_prepared__needs_no_memory_for_the_bits_of_a_large_panel(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PEAK_OF_WRITING, str(tmp_path)], check=True, capture_output=True, text=True
    )
    # Seven times the sites take a share of the bits that they would be; their names are text.
    assert float(done.stdout) < 0.4
