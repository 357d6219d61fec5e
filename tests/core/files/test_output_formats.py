"""BGEN and PGEN: what other readers find in them is what the VCF says, to the format's precision."""

from __future__ import annotations

import csv
import dataclasses
import multiprocessing
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import mosaic_panel
from vcfrag_core.errors import ConfigError, ProvenanceMismatchError, TruncatedFileError
from vcfrag_core.files.assembled import names
from vcfrag_core.files.bgen.probabilities import ProbabilityTable, on_grid
from vcfrag_core.files.outputs import (
    BgenValues,
    OutputFormat,
    PgenValues,
    check_output,
    check_sample_names,
    open_writer,
)
from vcfrag_core.files.parts import parts_folder
from vcfrag_core.files.records import count_records, read_records, write_records
from vcfrag_core.output.genotypes import NONE, ONE
from vcfrag_core.output.header import Header
from vcfrag_core.output.records import DEFAULT_FORMATS, OutputRecords, site_records
from vcfrag_core.panel.ploidy import Ploidy

N_SAMPLES, N_SITES = 60, 50
PLINK2 = shutil.which("plink2")
needs_plink2 = pytest.mark.skipif(PLINK2 is None, reason="plink2 is not installed (scripts/debian_packages.sh)")
BGEN16 = OutputFormat(bgen_bits=16)
PHASED16 = OutputFormat(bgen=BgenValues.HAPLOTYPES, bgen_bits=16)


def imputed(contig: str = "20", *, men: Sequence[int] = ()) -> tuple[list[OutputRecords], Header]:
    """Records of 60 samples at 50 sites in two pieces, dosages sharp or blurred but never at a call's threshold."""
    rng = np.random.default_rng(3)
    ploidy = Ploidy.of([1 if s in men else 2 for s in range(N_SAMPLES)])
    panel = mosaic_panel(n_samples=40, n_sites=N_SITES, seed=7, contig=contig)
    shape = (ploidy.n_haplotypes, N_SITES)
    alleles = (rng.random(shape) < rng.uniform(0.1, 0.9, N_SITES)).astype(np.int8)
    sure = rng.random(shape) < 0.7
    dosage = np.where(sure, np.where(alleles == 1, 0.98, 0.02), 0.3 + 0.1 * alleles).astype(np.float32)
    typed = np.arange(N_SITES) % 5 == 0
    pieces = [
        site_records(
            panel,
            sites,
            dosage=dosage[:, sites],
            alleles=np.where(typed, alleles, -1)[:, sites].astype(np.int8),
            typed=typed[sites],
            ploidy=ploidy,
        )
        for sites in np.split(np.arange(N_SITES), 2)
    ]
    samples = tuple(f"S{i:02d}" for i in range(N_SAMPLES))
    header = Header(samples=samples, contigs={contig: 10**8}, formats=DEFAULT_FORMATS, provenance=[("version", "1")])
    return pieces, header


def write(path: Path, made: tuple[list[OutputRecords], Header], chosen: OutputFormat | None = None) -> Path:
    pieces, header = made
    with open_writer(path, chosen or OutputFormat(), contigs=list(header.contigs)) as writer:
        for number, records in enumerate(pieces):
            writer.begin(records.contig, {"made from": "this"})
            writer.write(records.contig, number, [records])
        assert writer.finish(header) == N_SITES
    return path


def dosages(pieces: Sequence[OutputRecords], *, men_twice: bool = False) -> np.ndarray:
    """(V, S) ALT copies of the records."""
    pairs = np.concatenate([records.dosage for records in pieces]).astype(np.float64)
    second = np.where(pairs[:, :, 1] == NONE, pairs[:, :, 0] if men_twice else 0, pairs[:, :, 1])
    return np.asarray((pairs[:, :, 0] + second) / ONE)


@given(st.integers(0, ONE), st.integers(0, ONE), st.sampled_from([8, 16]))
def test_probability_table__sums_to_one_and_is_as_near_as_bits_allow(a: int, b: int, bits: int) -> None:
    first, second = np.array([a, a]), np.array([b, NONE])
    genotypes = ProbabilityTable(bits, phased=False).rows(first, second)
    p, q = a / ONE, b / ONE
    steps = 2**bits - 1
    np.testing.assert_allclose(genotypes[0], [(1 - p) * (1 - q), p * (1 - q) + q * (1 - p), p * q], atol=1 / steps)
    np.testing.assert_allclose(genotypes[1], [1 - p, p, np.nan], atol=1 / steps)
    stored = genotypes[0] * steps
    np.testing.assert_allclose(stored, np.rint(stored), atol=1e-6)
    assert round(float(stored.sum())) == steps
    haplotypes = ProbabilityTable(bits, phased=True).rows(first, second)
    np.testing.assert_allclose(haplotypes, [[1 - p, p, 1 - q, q], [1 - p, p, np.nan, np.nan]], atol=0.5001 / steps)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=5), st.sampled_from([1, 7, 255]))
def test_on_grid__keeps_the_sum_and_rounds_down_or_up(parts: list[int], steps: int) -> None:
    whole = sum(parts) or 1
    shares = np.array([parts if sum(parts) else [1, *parts[1:]]])
    made = on_grid(shares, whole, steps)
    assert made.sum() == steps
    exact = shares * steps / whole
    assert (np.abs(made - exact) < 1).all()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("values", list(BgenValues))
@pytest.mark.parametrize("men", [(), (1, 4, 5), tuple(range(N_SAMPLES))])
def test_bgen__another_reader_finds_the_dosages(
    tmp_path: Path, bits: int, values: BgenValues, men: tuple[int, ...]
) -> None:
    from bgen import BgenReader

    pieces, header = imputed("X", men=men)
    path = write(tmp_path / "o.bgen", (pieces, header), OutputFormat(bgen=values, bgen_bits=bits))
    wanted = dosages(pieces)
    with BgenReader(path) as file:
        assert list(file.samples) == list(header.samples)
        records = list(file)
        assert [record.pos for record in records] == [int(p) for piece in pieces for p in piece.positions]
        for record, copies in zip(records, wanted, strict=True):
            assert record.is_phased == (values is BgenValues.HAPLOTYPES)
            assert record.varid == f"X:{record.pos}:{':'.join(record.alleles)}"
            p = np.nan_to_num(record.probabilities)
            found = p[:, 1::2].sum(axis=1) if record.is_phased else p[:, 1] + (2 * p[:, 2] if p.shape[1] > 2 else 0)
            np.testing.assert_allclose(found, copies, atol=2 / (2**bits - 1))
    lines = (tmp_path / "o.sample").read_text().splitlines()
    assert lines[:2] == ["ID_1 ID_2 missing sex", "0 0 0 D"]
    sexes = [line.split()[3] for line in lines[2:]]
    assert sexes == ["0"] * N_SAMPLES if not men else [str(1 if s in men else 2) for s in range(N_SAMPLES)]


def test_names__of_alleles_too_long_for_one_are_digested() -> None:
    (first, *_), _ = imputed()
    long = "C" * 20_000
    few = dataclasses.replace(
        first.select(np.arange(first.n_sites) < 3), refs=[long, "A", "A"], alts=["A", long, "C" * 900]
    )
    one, other, short = names(few)
    assert short.endswith(f":A:{'C' * 900}")
    assert one != other
    for name in (one, other):
        contig, position, what = name.split(":")
        assert (contig, what[:5], len(what)) == ("20", "long-", 21)
        assert int(position) in few.positions.tolist()


def test_bgen__index_as_bgenix_reads_it(tmp_path: Path) -> None:
    path = write(tmp_path / "o.bgen", imputed())
    with sqlite3.connect(f"{path}.bgi") as index:
        name, size, start = index.execute("SELECT filename, file_size, first_1000_bytes FROM Metadata").fetchone()
        rows = index.execute(
            "SELECT chromosome, position, rsid, number_of_alleles, allele1, allele2, file_start_position, size_in_bytes"
            " FROM Variant ORDER BY file_start_position"
        ).fetchall()
    index.close()
    data = path.read_bytes()
    assert (name, size, start) == ("o.bgen", len(data), data[:1000])
    assert len(rows) == N_SITES
    assert [row[6] + row[7] for row in rows] == [*(row[6] for row in rows[1:]), len(data)]
    for chromosome, position, rsid, n_alleles, ref, alt, *_ in rows:
        assert (rsid, n_alleles, chromosome) == (f"20:{position}:{ref}:{alt}", 2, "20")


def test_pgen__phase_is_that_of_gt(tmp_path: Path) -> None:
    from pgenlib import PgenReader

    pieces, header = imputed()
    path = write(tmp_path / "o.pgen", (pieces, header), OutputFormat(pgen=PgenValues.PHASE))
    pairs = np.concatenate([records.dosage for records in pieces]) / ONE
    found, phased = np.empty(2 * N_SAMPLES, dtype=np.int32), np.empty(N_SAMPLES, dtype=np.uint8)
    with PgenReader(bytes(path)) as file:
        assert file.get_variant_ct() == N_SITES
        for site in range(N_SITES):
            file.read_alleles_and_phasepresent(site, found, phased)
            assert phased.all()
            sure = (np.abs(pairs[site] - 0.5) > 0.45).all(axis=1)
            assert sure.any()
            np.testing.assert_array_equal(found.reshape(-1, 2)[sure], np.rint(pairs[site][sure]))


@pytest.mark.parametrize("suffix", ["bgen", "pgen"])
def test_assembled__interrupted_and_resumed_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    (first, second), header = imputed()
    whole = write(tmp_path / f"whole.{suffix}", ([first, second], header))
    path = tmp_path / f"o.{suffix}"
    with open_writer(path, OutputFormat(), contigs=["20"]) as writer:
        writer.begin("20", {"made from": "this"})
        writer.write("20", 0, [first])
    assert not list(tmp_path.glob("o.*"))
    with open_writer(path, OutputFormat(), contigs=["20"], resume=True) as writer:
        with pytest.raises(ProvenanceMismatchError, match="made with made from this, this run has that"):
            writer.begin("20", {"made from": "that"})
        assert [writer.has("20", number) for number in (0, 1)] == [True, False]
        writer.write("20", 1, [second])
        writer.finish(header)
    assert path.read_bytes() == whole.read_bytes()
    assert not parts_folder(path).exists()
    assert not list(tmp_path.glob(".partial-*"))


@pytest.mark.parametrize(("suffix", "written_last"), [("bgen", "bgen.bgi"), ("pgen", "pgen")])
def test_assembled__what_cannot_be_written_is_the_systems_error(tmp_path: Path, suffix: str, written_last: str) -> None:
    """Files may be no longer than what comes before the last one, which a library of its own writes."""
    whole = write(tmp_path / f"whole.{suffix}", imputed())
    sizes = {path.name.removeprefix("whole."): path.stat().st_size for path in tmp_path.glob("whole.*")}
    before = max(size for name, size in sizes.items() if name != written_last)
    assert whole.exists()
    assert before + 200 < sizes[written_last]
    child = multiprocessing.get_context("spawn").Process(
        target=write_within, args=(tmp_path / f"short.{suffix}", before + 100, tmp_path / "said")
    )
    child.start()
    child.join()
    assert (tmp_path / "said").read_text() == f"OSError short.{suffix}"
    assert not (tmp_path / f"short.{suffix}").exists()


def write_within(path: Path, most_bytes: int, said: Path) -> None:
    """Writes where no file may be longer, and says in another what was raised."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        write(path, imputed())
    except OSError as error:
        said.write_text(f"{type(error).__name__} {Path(error.filename).name}")


def test_records__round_trip_and_damage(tmp_path: Path) -> None:
    (first, second), _ = imputed("X", men=(2, 3))
    path = tmp_path / "records"
    with path.open("wb") as file:
        assert write_records(file, [first, second]) == N_SITES
    assert count_records(path) == N_SITES
    for found, wanted in zip(read_records(path), (first, second), strict=True):
        for name in ("positions", "dosage", "typed", "af", "maf", "r2", "er2"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        assert (found.refs, found.alts, found.site_ids) == (list(wanted.refs), list(wanted.alts), wanted.site_ids)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TruncatedFileError, match="run again"):
        list(read_records(path))


def test_check_output__refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"\.bgen has no FORMAT fields; leave --format out"):
        check_output(tmp_path / "o.bgen", OutputFormat(formats=("GT",)))
    with pytest.raises(ConfigError, match=r"\.pgen has no FORMAT fields; leave --format out"):
        check_output(tmp_path / "o.pgen", OutputFormat(formats=("GT",)))
    with pytest.raises(ConfigError, match="must end in"):
        check_output(tmp_path / ".bgen")
    with pytest.raises(ConfigError, match="--bgen-bits is 8 or 16, got 12"):
        OutputFormat(bgen_bits=12)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"bgen is not installed; run: pip install 'vcfrag\[bgen\]'"):
        check_output(tmp_path / "o.bgen")
    assert check_output(tmp_path / "o.pgen") == tmp_path / "o.pgen"


@pytest.mark.parametrize("name", ["a b", "0", "a\tb"])
def test_check_sample_names__white_space_and_nobodys_name(name: str) -> None:
    for suffix in (".bgen", ".pgen"):
        check_sample_names(f"o{suffix}", ("a", "x,y"))
        with pytest.raises(ConfigError, match=r"can(not)? name (the|a) sample"):
            check_sample_names(f"o{suffix}", ("a", name))
    if name.isprintable():
        check_sample_names("o.vcf.gz", ("a", name))


def test_check_sample_names__longer_than_a_bgen_can_say() -> None:
    check_sample_names("o.bgen", ("a", "é" * 32_767))
    check_sample_names("o.pgen", ("a", "é" * 32_768))
    with pytest.raises(ConfigError, match=r"up to 65,535 bytes, and that of the sample é{40}\.\.\. has 65,536; give"):
        check_sample_names("o.bgen", ("a", "é" * 32_768))


def test_pgen__without_a_record(tmp_path: Path) -> None:
    (first, _), header = imputed()
    with open_writer(tmp_path / "o.pgen", OutputFormat(), contigs=["20"]) as writer:
        writer.begin("20", {})
        writer.write("20", 0, [first.select(np.zeros(first.n_sites, dtype=bool))])
        with pytest.raises(ConfigError, match="no site is left to write"):
            writer.finish(header)
    assert not list(tmp_path.glob("o.*"))


def plink2(folder: Path, name: str, *words: object) -> dict[str, list[dict[str, str]]]:
    """Tables that a run of PLINK 2 writes, by suffix."""
    assert PLINK2 is not None
    command = [PLINK2, *map(str, words), "--threads", "1", "--memory", "1024", "--out", str(folder / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    tables = {}
    for path in folder.glob(f"{name}.*"):
        if path.suffix in (".afreq", ".hardy", ".linear", ".x"):
            with path.open() as file:
                tables[path.suffix] = list(csv.DictReader(file, delimiter="\t"))
    return tables


@needs_plink2
def test_outputs__plink2_finds_the_same_in_each(tmp_path: Path) -> None:
    made = imputed()
    pheno = dosages(made[0])[7] + np.random.default_rng(1).normal(size=N_SAMPLES)
    rows = [f"{name}\t{value:.6f}" for name, value in zip(made[1].samples, pheno.tolist(), strict=True)]
    (tmp_path / "iid.txt").write_text("\n".join(["#IID\tY", *rows]) + "\n")
    # A .sample file says family and individual, both by the sample's name.
    rows = [f"{name}\t{row}" for name, row in zip(made[1].samples, rows, strict=True)]
    (tmp_path / "fid.txt").write_text("\n".join(["#FID\tIID\tY", *rows]) + "\n")

    def bgen(name: str, chosen: OutputFormat | None = None) -> list[object]:
        path = write(tmp_path / f"{name}.bgen", made, chosen)
        return ["--bgen", path, "ref-first", "--sample", path.with_suffix(".sample"), "--pheno", tmp_path / "fid.txt"]

    iid = ["--pheno", tmp_path / "iid.txt"]
    inputs: dict[str, list[object]] = {
        "vcf": ["--vcf", write(tmp_path / "o.vcf.gz", made), "dosage=DS", *iid],
        "bcf": ["--bcf", write(tmp_path / "o.bcf", made), "dosage=DS", *iid],
        "pgen": ["--pfile", write(tmp_path / "p.pgen", made).with_suffix(""), *iid],
        "bgen16": bgen("g", BGEN16),
        "phased": bgen("h", PHASED16),
        "bgen8": bgen("e"),
    }
    work = ["--freq", "--hardy", "--glm", "allow-no-covars"]
    found = {name: plink2(tmp_path, name, *words, *work) for name, words in inputs.items()}
    wanted = found.pop("vcf")
    np.testing.assert_allclose(column(wanted[".afreq"], "ALT_FREQS"), dosages(made[0]).mean(axis=1) / 2, atol=1e-4)
    for name, tables in found.items():
        step = 2 / 255 if name == "bgen8" else 2e-4
        np.testing.assert_allclose(
            column(tables[".afreq"], "ALT_FREQS"), column(wanted[".afreq"], "ALT_FREQS"), atol=step, err_msg=name
        )
        for count in ("HOM_A1_CT", "HET_A1_CT", "TWO_AX_CT"):
            assert [row[count] for row in tables[".hardy"]] == [row[count] for row in wanted[".hardy"]], name
        np.testing.assert_allclose(
            column(tables[".linear"], "BETA"), column(wanted[".linear"], "BETA"), atol=40 * step, err_msg=name
        )


@needs_plink2
def test_outputs__plink2_counts_men_once_on_x(tmp_path: Path) -> None:
    men = (0, 3, 4, 9)
    made = imputed("X", men=men)
    af = np.concatenate([records.af for records in made[0]])
    inputs = {
        "pgen": ["--pfile", write(tmp_path / "p.pgen", made).with_suffix("")],
        "bgen": ["--bgen", write(tmp_path / "g.bgen", made, BGEN16), "ref-first", "--sample", tmp_path / "g.sample"],
    }
    for name, words in inputs.items():
        tables = plink2(tmp_path, name, *words, "--freq")
        np.testing.assert_allclose(column(tables[".afreq"], "ALT_FREQS"), af, atol=6e-4, err_msg=name)
    assert [line.split()[1] for line in (tmp_path / "p.psam").read_text().splitlines()[1:]] == [
        "1" if s in men else "2" for s in range(N_SAMPLES)
    ]


def column(rows: Sequence[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])
