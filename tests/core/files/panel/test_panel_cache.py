"""The panel cache: the panel of the file, or made again; never what somebody else left there."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vcf_text import panel_text, panels, write_vcf
from vcfrag_core.errors import CacheError, InputError, TruncatedFileError, UnphasedError
from vcfrag_core.files.panel import binary as panel_file
from vcfrag_core.files.panel import cache as panel_cache
from vcfrag_core.files.panel.binary import read_panel_file, write_panel_file
from vcfrag_core.files.panel.cache import cache_folder, load_panel
from vcfrag_core.files.panel.reader import read_panel
from vcfrag_core.panel.keys import haplotype_keys
from vcfrag_core.panel.panel import Panel, panel_digest
from vcfrag_core.panel.pbwt import changes_both_ways

MakePanel = Callable[..., Panel]


class Reads:
    """Counts how often a VCF was read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n = 0
        read = panel_cache.read_panels

        def counted(*args: object, **options: object) -> list[Panel]:
            self.n += 1
            return read(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(panel_cache, "read_panels", counted)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def vcf(tmp_path: Path, make_panel: MakePanel) -> Path:
    return write_vcf(tmp_path / "panel.bcf", panel_text(make_panel(n_samples=30, n_sites=300, seed=1)))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def entry_of(cache: Path) -> Path:
    (entry,) = cache.iterdir()
    return entry


def assert_same(a: Panel, b: Panel) -> None:
    assert panel_digest(a) == panel_digest(b)
    assert (a.digest, a.site_ids, a.contig_length, a.source) == (b.digest, b.site_ids, b.contig_length, b.source)


@given(panel=panels(), chunk_bytes=st.sampled_from([1, 7, 64, 4 << 20]), threads=st.integers(1, 3))
def test_panel_file__gives_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, panel: Panel, chunk_bytes: int, threads: int
) -> None:
    path = tmp_path_factory.mktemp("file") / "x.panel"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panel_file, "_CHUNK_BYTES", chunk_bytes)
        write_panel_file(path, panel, {"a": 1, "b": None}, threads=threads)
        again = read_panel_file(path, {"b": None, "a": 1}, threads=threads)
    assert_same(again, panel)
    np.testing.assert_array_equal(again.packed, panel.packed)
    np.testing.assert_array_equal(vars(again)["keys"], haplotype_keys(panel))
    changes = changes_both_ways(panel.bits, np.arange(panel.n_haplotypes), panel.alt_frequency())
    np.testing.assert_array_equal(vars(again)["allele_changes"], changes)


@given(panel=panels(max_samples=3, max_sites=9), data=st.data())
def test_panel_file__no_changed_byte_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, panel: Panel, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("file") / "x.panel"
    write_panel_file(path, panel, {"a": 1})
    content = np.fromfile(path, dtype=np.uint8)
    # What is 0 is mostly padding.
    where = data.draw(st.sampled_from(np.flatnonzero(content).tolist()))
    content[where] ^= data.draw(st.integers(1, 255))
    content.tofile(path)
    with pytest.raises(CacheError, match=str(path)):
        read_panel_file(path, {"a": 1})


@given(panel=panels(max_samples=3, max_sites=9), share=st.floats(0, 1, exclude_max=True))
def test_panel_file__no_cut_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, panel: Panel, share: float
) -> None:
    path = tmp_path_factory.mktemp("file") / "x.panel"
    write_panel_file(path, panel, {"a": 1})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CacheError, match=r"cut short|damaged|no panel cache"):
        read_panel_file(path, {"a": 1})


def test_panel_file__allele_changes_of_other_sites_are_not_taken(
    tmp_path: Path, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.panel"
    write_panel_file(path, panel, {})
    monkeypatch.setattr(panel_file, "MIN_MAF", 0.01)
    again = read_panel_file(path, {})
    assert "allele_changes" not in vars(again)
    assert_same(again, panel)


def test_panel_file__writing_to_the_bits_does_not_reach_the_file(tmp_path: Path, panel: Panel) -> None:
    path = tmp_path / "x.panel"
    write_panel_file(path, panel, {})
    read_panel_file(path, {}).packed[:] = 0
    assert_same(read_panel_file(path, {}), panel)


def test_load_panel__reads_the_vcf_once(vcf: Path, cache: Path, reads: Reads, caplog: pytest.LogCaptureFixture) -> None:
    first = load_panel(vcf, cache_dir=cache, threads=2)
    again = load_panel(vcf, cache_dir=cache, threads=2)
    assert reads.n == 1
    assert_same(again, first)
    assert first.digest == panel_digest(read_panel(vcf))
    assert not caplog.records


def test_load_panel__regions_have_entries_of_their_own(vcf: Path, cache: Path, reads: Reads) -> None:
    everything, part = load_panel(vcf, cache_dir=cache), load_panel(vcf, region="1:2000-3000", cache_dir=cache)
    assert part.n_sites == 11
    assert_same(load_panel(vcf, region="1:2000-3000", cache_dir=cache), part)
    assert_same(load_panel(vcf, cache_dir=cache), everything)
    assert reads.n == 2
    assert len(list(cache.iterdir())) == 2


def test_load_panel__a_file_that_changed_is_read_again_and_its_entry_replaced(
    vcf: Path, cache: Path, reads: Reads, make_panel: MakePanel
) -> None:
    load_panel(vcf, cache_dir=cache)
    other = make_panel(n_samples=30, n_sites=300, seed=2)
    write_vcf(vcf, panel_text(other))
    assert load_panel(vcf, cache_dir=cache).digest == other.digest
    assert load_panel(vcf, cache_dir=cache).digest == other.digest
    assert reads.n == 2
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:10],
        lambda content: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content.replace(b'"contig": "1"', b'"contig": "2"'),
        lambda content: b"vcfragP0" + content[8:],
        lambda content: content[:15] + b"\x7f" + content[16:],
        lambda content: b"something else entirely" * 1000,
    ],
)
def test_load_panel__a_damaged_entry_is_made_again_with_a_warning(
    vcf: Path, cache: Path, reads: Reads, harm: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    first = load_panel(vcf, cache_dir=cache)
    entry = entry_of(cache)
    content = entry.read_bytes()
    assert harm(content) != content
    entry.write_bytes(harm(content))
    assert_same(load_panel(vcf, cache_dir=cache), first)
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert str(entry) in warning.getMessage()
    assert reads.n == 2
    assert entry_of(cache).read_bytes() == content


def test_load_panel__an_entry_of_another_panel_is_made_again(
    vcf: Path, tmp_path: Path, cache: Path, make_panel: MakePanel, caplog: pytest.LogCaptureFixture
) -> None:
    other = write_vcf(tmp_path / "other.bcf", panel_text(make_panel(n_samples=30, n_sites=300, seed=2)))
    first = load_panel(vcf, cache_dir=cache)
    entry = entry_of(cache)
    load_panel(other, cache_dir=tmp_path / "elsewhere")
    shutil.copyfile(entry_of(tmp_path / "elsewhere"), entry)
    assert_same(load_panel(vcf, cache_dir=cache), first)
    assert f"path {other} instead of {vcf}" in caplog.text


def test_load_panel__a_file_that_only_its_bytes_tell_from_the_one_before_is_read_again(
    vcf: Path, cache: Path, reads: Reads, make_panel: MakePanel
) -> None:
    panel = make_panel(n_samples=30, n_sites=300, seed=1)
    plain = write_vcf(vcf.with_suffix(".vcf"), panel_text(panel))
    load_panel(plain, cache_dir=cache)
    status = plain.stat()
    other = Panel.from_haplotypes(panel.haplotypes()[::-1], contig="1")
    write_vcf(plain, panel_text(other))
    os.utime(plain, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (plain.stat().st_size, plain.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert load_panel(plain, cache_dir=cache).digest == read_panel(plain).digest
    assert reads.n == 2
    assert entry_of(cache).is_file()


def test_load_panel__verify_source_finds_what_size_time_and_header_hide(
    vcf: Path, cache: Path, make_panel: MakePanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a large file most bytes are not looked at.
    monkeypatch.setattr(panel_cache, "_STRETCH_BYTES", 1)
    panel = make_panel(n_samples=30, n_sites=300, seed=1)
    plain = write_vcf(vcf.with_suffix(".vcf"), panel_text(panel))
    load_panel(plain, cache_dir=cache)
    modified = plain.stat().st_mtime_ns
    changed = panel.haplotypes().copy()
    changed[7, 100] ^= 1
    write_vcf(plain, panel_text(Panel.from_haplotypes(changed, contig="1")))
    os.utime(plain, ns=(modified, modified))
    assert load_panel(plain, cache_dir=cache).digest == panel.digest
    with pytest.raises(CacheError, match=f"holds panel {panel.digest}, but {plain} now holds .*; remove the cache"):
        load_panel(plain, cache_dir=cache, verify_source=True)


def test_load_panel__verify_source_reads_in_any_case(vcf: Path, cache: Path, reads: Reads) -> None:
    first = load_panel(vcf, cache_dir=cache, verify_source=True)
    assert_same(load_panel(vcf, cache_dir=cache, verify_source=True), first)
    assert reads.n == 2


def test_load_panel__a_source_cut_short_is_refused_though_it_is_cached(vcf: Path, cache: Path) -> None:
    load_panel(vcf, cache_dir=cache)
    vcf.write_bytes(vcf.read_bytes()[:-5])
    with pytest.raises(TruncatedFileError):
        load_panel(vcf, cache_dir=cache)
    vcf.unlink()
    with pytest.raises(InputError, match="no such file"):
        load_panel(vcf, cache_dir=cache)


def test_load_panel__a_refused_panel_leaves_no_entry(data_dir: Path, cache: Path) -> None:
    with pytest.raises(UnphasedError):
        load_panel(data_dir / "unphased_chr20_203.bcf", cache_dir=cache)
    assert not cache.exists()


def test_load_panel__entries_are_their_owners_alone(vcf: Path, cache: Path) -> None:
    load_panel(vcf, cache_dir=cache)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry_of(cache).stat().st_mode) == 0o400


def test_load_panel__the_usual_folder_is_made_private(vcf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VCFRAG_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    usual = cache / "vcfrag"
    usual.mkdir(parents=True, mode=0o755)
    load_panel(vcf)
    assert stat.S_IMODE(usual.stat().st_mode) == 0o700


def test_load_panel__a_folder_that_was_named_keeps_its_mode(
    vcf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VCFRAG_CACHE_DIR", str(cache))
    cache.mkdir()
    cache.chmod(0o2775)
    load_panel(vcf)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o2775


def test_load_panel__an_entry_of_an_earlier_version_that_all_could_read_is_removed(vcf: Path, cache: Path) -> None:
    load_panel(vcf, cache_dir=cache)
    earlier = cache / f"{entry_of(cache).name.rsplit('-', 1)[0]}.panel"
    other = cache / f"{vcf.name}-0123456789abcdef.panel"
    entry_of(cache).rename(earlier)
    other.write_bytes(b"of another region")
    load_panel(vcf, cache_dir=cache)
    assert not earlier.exists()
    assert other.exists()


@pytest.mark.parametrize("mode", [0o422, 0o602])
def test_load_panel__an_entry_that_others_may_change_is_made_again(
    vcf: Path, cache: Path, reads: Reads, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    load_panel(vcf, cache_dir=cache)
    entry_of(cache).chmod(mode)
    assert load_panel(vcf, cache_dir=cache).n_sites == 300
    assert reads.n == 2
    assert "other users may change it" in caplog.text
    assert stat.S_IMODE(entry_of(cache).stat().st_mode) == 0o400


@pytest.mark.parametrize("change", ["overwritten", "cut"])
def test_panel_file__a_panel_in_use_outlives_what_is_done_to_its_file(
    tmp_path: Path, make_panel: MakePanel, change: str
) -> None:
    panel = make_panel(n_samples=200, n_sites=4000, seed=2)
    path = tmp_path / "panel"
    write_panel_file(path, panel, {})
    read = read_panel_file(path, {})
    path.chmod(0o600)
    with path.open("r+b") as file:
        if change == "cut":
            file.truncate(100)
        else:
            file.write(bytes(path.stat().st_size))
    assert panel_digest(read) == read.digest == panel.digest
    with pytest.raises(CacheError):
        read_panel_file(path, {})


def test_load_panel__works_without_a_cache_that_can_be_written(
    vcf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert load_panel(vcf, cache_dir=blocked).n_samples == 30
    assert "panel cache not written" in caplog.text


def test_load_panel__a_folder_in_the_place_of_an_entry_is_told_and_passed_over(
    vcf: Path, cache: Path, reads: Reads, caplog: pytest.LogCaptureFixture
) -> None:
    first = load_panel(vcf, cache_dir=cache)
    entry = entry_of(cache)
    entry.unlink()
    entry.mkdir()
    for _ in range(2):
        assert_same(load_panel(vcf, cache_dir=cache), first)
    assert reads.n == 3
    assert f"panel cache not written: {entry} is no regular file" in caplog.text


def test_cache_folder__follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("VCFRAG_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "vcfrag"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "vcfrag"
    monkeypatch.setenv("VCFRAG_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_panel_digest__is_kept_by_the_panel_and_not_by_what_is_made_of_it(panel: Panel) -> None:
    assert panel.digest == panel_digest(panel)
    fewer = panel.select_sites(np.arange(10))
    assert fewer.digest == panel_digest(fewer) != panel.digest
