"""`vcfrag-train impute` on files: every kind of dirty input, and what must not change the output."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.vcf_text import record, vcf_text, write_vcf
from vcfrag_core.files.vcf_header import Header
from vcfrag_core.files.vcf_writer import ImputedWriter
from vcfrag_core.output_records import site_records
from vcfrag_core.panel import Panel
from vcfrag_core.panel_columns import alleles_at
from vcfrag_indexd.testing import serve
from vcfrag_train import cli, impute_pipeline
from vcfrag_train.impute_config import ImputeConfig

N_SITES = 400
N_TARGETS = 6
CM = 6.0
LONG_CM = 40.0

MakePanel = Callable[..., Panel]


@dataclasses.dataclass(frozen=True)
class Cohort:
    """A panel, targets of the same population with their truth, and a folder with their files."""

    folder: Path
    panel: Panel
    truth: Panel
    typed: np.ndarray

    @property
    def panel_file(self) -> Path:
        return self.folder / "panel.bcf"

    @property
    def map_file(self) -> Path:
        return self.folder / "map.gmap"

    @property
    def long_map_file(self) -> Path:
        """A map so long that there are several windows, and stretches without typed sites."""
        return self.folder / "long.gmap"

    def lines(self, *, contig: str = "20") -> list[list[str]]:
        """The typed records as columns; tests damage them."""
        calls = self.truth.haplotypes().T.reshape(N_SITES, -1, 2)
        made = []
        for site in np.flatnonzero(self.typed).tolist():
            cells = [f"{a}|{b}" for a, b in calls[site].tolist()]
            line = record(
                int(self.panel.positions[site]),
                cells,
                contig=contig,
                ref=self.panel.refs[site],
                alt=self.panel.alts[site],
            )
            made.append(line.split("\t"))
        return made

    def target(
        self,
        lines: Sequence[Sequence[str]],
        name: str = "target.vcf.gz",
        samples: Sequence[str] | None = None,
        contigs: dict[str, int] | None = None,
    ) -> Path:
        """A target file of these records."""
        text = vcf_text(samples or self.truth.samples, ["\t".join(line) for line in lines], contigs=contigs)
        return write_vcf(self.folder / name, text)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_panel: MakePanel) -> Cohort:
    folder = tmp_path_factory.mktemp("impute")
    everyone = make_panel(n_samples=66, n_sites=N_SITES, seed=11)
    rng = np.random.default_rng(5)
    positions = np.sort(rng.choice(np.arange(100_000, 900_000), N_SITES, replace=False)).astype(np.int32)
    pairs = [("A", "C"), ("A", "G"), ("C", "T"), ("A", "T"), ("C", "G")]
    chosen = [pairs[i] for i in rng.choice(5, N_SITES, p=[0.3, 0.3, 0.3, 0.05, 0.05])]
    everyone = dataclasses.replace(
        everyone,
        contig="20",
        positions=positions,
        refs=tuple(ref for ref, _ in chosen),
        alts=tuple(alt for _, alt in chosen),
        samples=tuple(f"P{i:02d}" for i in range(66)),
        contig_length=63_025_520,
    )
    typed = rng.random(N_SITES) < 0.5
    panel = everyone.select_samples(everyone.samples[:60])
    cohort = Cohort(folder, panel, everyone.select_samples(everyone.samples[60:]), typed)
    from tests.vcf_text import panel_text

    write_vcf(cohort.panel_file, panel_text(panel))
    for file, cm in ((cohort.map_file, CM), (cohort.long_map_file, LONG_CM)):
        rows = zip(np.linspace(90_000, 910_000, 50).astype(int), np.linspace(0, cm, 50), strict=True)
        file.write_text("pos\tchr\tcM\n" + "".join(f"{p}\t20\t{c:.5f}\n" for p, c in rows))
    return cohort


@pytest.fixture
def cohort(made: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cohort:
    """The cohort, with a folder for this test's own files."""
    monkeypatch.setenv("VCFRAG_CACHE_DIR", str(made.folder / "cache"))
    for file in (made.panel_file, made.map_file, made.long_map_file):
        (tmp_path / file.name).symlink_to(file)
    return dataclasses.replace(made, folder=tmp_path)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run said and wrote."""

    code: int
    stderr: str
    out: Path

    @property
    def qc(self) -> list[dict[str, str]]:
        header, *rows = self.out.with_name("out.qc.tsv").read_text().splitlines()
        return [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]

    @property
    def summary(self) -> dict[str, dict[str, dict[str, object]]]:
        loaded: dict[str, dict[str, dict[str, object]]] = json.loads(self.out.with_name("out.qc.json").read_text())
        return loaded

    @property
    def rows(self) -> list[list[str]]:
        text = gzip.decompress(self.out.read_bytes()).decode()
        return [line.split("\t") for line in text.splitlines() if line[0] != "#"]

    @property
    def header(self) -> list[str]:
        return [x for x in gzip.decompress(self.out.read_bytes()).decode().splitlines() if x[0] == "#"]

    @property
    def format_columns(self) -> list[list[str]]:
        return [row[:5] + row[8:] for row in self.rows]

    def reasons(self, contig: str = "20") -> dict[str, int]:
        counts: dict[str, int] = self.summary["contigs"][contig]["reasons"]  # type: ignore[assignment]
        return counts


@pytest.fixture
def impute(cohort: Cohort, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command on a target file, by copying alone: `impute(file, "--threads", "2", out="other.vcf.gz")`."""

    def run(
        target: Path,
        *options: str,
        out: str = "out.vcf.gz",
        map: Path | None = cohort.map_file,
        by_copying: bool = True,
    ) -> Outcome:
        words = ["impute", "--panel", cohort.panel_file, "--target", target, "--out", cohort.folder / out]
        words += [] if map is None else ["--map", map]
        words += ["--copying-only"] if by_copying else []
        with pytest.raises(SystemExit) as stop:
            cli.main([str(word) for word in (*words, *options)])
        code = stop.value.code
        return Outcome(code if isinstance(code, int) else 0, capsys.readouterr().err, cohort.folder / out)

    return run


Impute = Callable[..., Outcome]
HEAVY = ("torch", "lightning", "tensorboard", "matplotlib", "jinja2", "faiss", "scipy", "pandas")


def refused(outcome: Outcome, reason: str) -> str:
    """The one line of a refusal, which leaves no output."""
    assert outcome.code == 2
    assert not outcome.out.exists()
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("error")]
    assert len(lines) == 1
    assert outcome.stderr.splitlines()[-1] == lines[0]
    assert lines[0].startswith(f"error [{reason}]: ")
    assert "Traceback" not in outcome.stderr
    return lines[0]


def dosage_r2(outcome: Outcome, cohort: Cohort) -> float:
    """Of all imputed genotypes at once."""
    imputed = {int(row[1]): row for row in outcome.rows}
    truth = cohort.truth.haplotypes().reshape(-1, 2, N_SITES).sum(axis=1)
    hidden = [s for s in np.flatnonzero(~cohort.typed) if int(cohort.panel.positions[s]) in imputed]
    ds = [[float(c.split(":")[1]) for c in imputed[int(cohort.panel.positions[s])][9:]] for s in hidden]
    return float(np.corrcoef(np.ravel(ds), truth[:, hidden].T.ravel())[0, 1] ** 2)


# --- clean input


def test_copying_only__a_process_loads_nothing_that_trains(cohort: Cohort) -> None:
    words = ["impute", "--panel", cohort.panel_file, "--target", cohort.target(cohort.lines())]
    words += ["--map", cohort.map_file, "--out", cohort.folder / "out.vcf.gz", "--copying-only"]
    code = (
        "import sys\nfrom vcfrag_train.cli import main\n"
        "try:\n    main()\n"
        f"finally:\n    print('HEAVY', [m for m in {HEAVY} if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
    assert (cohort.folder / "out.vcf.gz.tbi").exists() or (cohort.folder / "out.vcf.gz.csi").exists()


def test_impute__clean_target(cohort: Cohort, impute: Impute) -> None:
    outcome = impute(cohort.target(cohort.lines()))
    assert outcome.code == 0
    n_typed = int(cohort.typed.sum())
    assert outcome.reasons() == {"used": n_typed}
    assert outcome.qc == []
    assert len(outcome.rows) == N_SITES
    assert [int(row[1]) for row in outcome.rows] == cohort.panel.positions.tolist()
    assert dosage_r2(outcome, cohort) > 0.75
    flags = np.array(["TYPED" in row[7].split(";") for row in outcome.rows])
    np.testing.assert_array_equal(flags, cohort.typed)
    # Typed genotypes are returned untouched.
    wanted = {int(line[1]): line[9:] for line in cohort.lines()}
    for row in outcome.rows:
        if int(row[1]) in wanted:
            assert [cell.split(":")[0] for cell in row[9:]] == wanted[int(row[1])]
    assert not Path(outcome.out.parent, f".{outcome.out.name}.parts").exists()
    assert Path(f"{outcome.out}.tbi").is_file()


def test_impute__header_says_what_it_was_made_from(cohort: Cohort, impute: Impute) -> None:
    outcome = impute(cohort.target(cohort.lines()))
    contig = outcome.summary["contigs"]["20"]
    inputs = [line for line in outcome.header if line.startswith("##vcfrag_input=")]
    assert len(inputs) == 1
    assert f"panel={cohort.panel.digest}," in inputs[0]
    assert f"mask={contig['mask_digest']}," in inputs[0]
    assert "##contig=<ID=20,length=63025520>" in outcome.header
    for key in ("version", "command", "model"):
        assert sum(line.startswith(f"##vcfrag_{key}=") for line in outcome.header) == 1


def test_impute__bcf_and_vcf_hold_the_same(cohort: Cohort, impute: Impute) -> None:
    import cyvcf2

    target = cohort.target(cohort.lines())
    text, binary = impute(target), impute(target, out="out.bcf")
    assert binary.code == 0
    read = [[str(v) for v in cyvcf2.VCF(str(o.out))] for o in (text, binary)]
    assert len(read[0]) == N_SITES
    assert [line.split("\t")[9:] for line in read[0]] == [line.split("\t")[9:] for line in read[1]]


def test_impute__format_is_selectable(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    outcome = impute(target, "--format", "LOO,DS,GT")
    for row, typed in zip(outcome.rows, cohort.typed, strict=True):
        assert row[8] == ("GT:DS:LOO" if typed else "GT:DS")
    loo = [
        float(cell.split(":")[2]) for row, t in zip(outcome.rows, cohort.typed, strict=True) if t for cell in row[9:]
    ]
    typed = cohort.truth.haplotypes().reshape(N_TARGETS, 2, N_SITES).sum(axis=1)[:, cohort.typed].T.ravel()
    r2 = np.corrcoef(loo, typed)[0, 1] ** 2
    assert 0.5 < r2 < 0.999
    assert "'XX'" in refused(impute(target, "--format", "GT,XX", out="x.vcf.gz"), "CONFIG")


def test_impute__is_quiet_when_piped(cohort: Cohort, impute: Impute) -> None:
    stderr = impute(cohort.target(cohort.lines())).stderr
    assert "\x1b" not in stderr
    assert "\r" not in stderr
    assert len(stderr.splitlines()) == 2


def test_impute__without_a_map_it_warns(cohort: Cohort, impute: Impute) -> None:
    outcome = impute(cohort.target(cohort.lines()), map=None)
    assert outcome.code == 0
    assert "warning: no genetic map" in outcome.stderr


def test_impute__against_a_running_daemon(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    with serve({"chr20": cohort.panel}) as daemon:
        remote = impute(target, "--daemon", daemon.address, out="remote.vcf.gz")
    assert remote.code == 0
    assert remote.format_columns == impute(target).format_columns


def test_impute__against_a_daemon_with_another_panel(cohort: Cohort, impute: Impute) -> None:
    other = cohort.panel.select_samples(cohort.panel.samples[1:])
    with serve({"chr20": other}) as daemon:
        outcome = impute(cohort.target(cohort.lines()), "--daemon", daemon.address)
    line = refused(outcome, "PANEL_MISMATCH")
    assert cohort.panel.digest in line
    assert f"chr20 ({other.digest})" in line


# --- the input table


def test_impute__contig_alias_is_matched_and_reported(cohort: Cohort, impute: Impute) -> None:
    plain = impute(cohort.target(cohort.lines()), out="plain.vcf.gz")
    target = cohort.target(cohort.lines(contig="chr20"), contigs={"chr20": 63_025_520})
    outcome = impute(target)
    assert outcome.code == 0
    assert "contig chr20 of the target is 20 of the panel" in outcome.stderr
    assert outcome.summary["contigs"]["20"]["name_in_target"] == "chr20"
    assert outcome.format_columns == plain.format_columns


def test_impute__other_genome_build_is_refused(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    for line in lines:
        line[1] = str(int(line[1]) + 37)
    outcome = impute(cohort.target(lines, contigs={"20": 64_444_167}))
    line = refused(outcome, "TARGET")
    # One record has moved beyond the panel's last site.
    assert f"the panel has 0 of {len(lines) - 1} positions (0.0%), and of those 0.0% the same REF allele" in line
    assert "the target is on GRCh38 and the panel is on GRCh37" in line
    contig = outcome.summary["contigs"]["20"]
    assert contig["positions_in_panel_share"] == 0
    assert contig["target_build_by_length"] == "GRCh38"
    assert outcome.reasons() == {"not_in_panel": len(lines)}


COMPLEMENT = str.maketrans("ACGT", "TGCA")


def unambiguous(lines: list[list[str]]) -> list[int]:
    return [i for i, line in enumerate(lines) if line[3].translate(COMPLEMENT) != line[4]]


def swapped(line: list[str]) -> None:
    line[3], line[4] = line[4], line[3]
    line[9:] = [cell.translate(str.maketrans("01", "10")) for cell in line[9:]]


def flipped(line: list[str]) -> None:
    line[3], line[4] = line[3].translate(COMPLEMENT), line[4].translate(COMPLEMENT)


@pytest.mark.parametrize(
    ("damage", "flags", "dropped", "mended"),
    [
        ([swapped], ["--fix-swaps"], "swapped", "swap_mended"),
        ([flipped], ["--fix-flips"], "flipped", "flip_mended"),
        ([swapped, flipped], ["--fix-swaps", "--fix-flips"], "flipped_and_swapped", "flip_and_swap_mended"),
    ],
    ids=["swaps", "flips", "both"],
)
def test_impute__swaps_and_flips_are_dropped_or_mended(
    cohort: Cohort,
    impute: Impute,
    damage: list[Callable[[list[str]], None]],
    flags: list[str],
    dropped: str,
    mended: str,
) -> None:
    clean = impute(cohort.target(cohort.lines()), out="clean.vcf.gz")
    lines = cohort.lines()
    chosen = unambiguous(lines)[::9]
    for i in chosen:
        for change in damage:
            change(lines[i])
    target = cohort.target(lines)
    by_default = impute(target)
    assert by_default.code == 0
    assert by_default.reasons() == {"used": len(lines) - len(chosen), dropped: len(chosen)}
    options = " and ".join(flags)
    table = by_default.out.with_name("out.qc.tsv")
    assert f"20: {len(chosen)} {dropped}; {table} lists them ({options} would mend some)" in by_default.stderr
    assert [(int(row["position"]), row["reason"], row["used"]) for row in by_default.qc] == [
        (int(lines[i][1]), dropped, "no") for i in chosen
    ]
    fixed = impute(target, *flags)
    assert fixed.reasons() == {"used": len(lines) - len(chosen), mended: len(chosen)}
    assert {row["used"] for row in fixed.qc} == {"yes"}
    assert f"20: {len(chosen)} {mended}; {table} lists them\n" in fixed.stderr
    assert fixed.format_columns == clean.format_columns


def invert(lines: list[list[str]], chosen: Sequence[int]) -> None:
    for i in chosen:
        lines[i][9:] = [cell.translate(str.maketrans("01", "10")) for cell in lines[i][9:]]


def test_impute__inverted_coding_is_found_dropped_and_listed(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    common = [i for i, line in enumerate(lines) if 0.2 < "".join(line[9:]).count("1") / 12 < 0.8]
    rare = [i for i, line in enumerate(lines) if "".join(line[9:]).count("1") == 0]
    chosen = sorted([*common[5:40:12], *rare[3:60:20]])
    invert(lines, chosen)
    outcome = impute(cohort.target(lines))
    assert outcome.code == 0
    assert [int(row["position"]) for row in outcome.qc] == [int(lines[i][1]) for i in chosen]
    assert {row["reason"] for row in outcome.qc} == {"inverted_coding"}
    assert outcome.reasons() == {"used": len(lines) - len(chosen), "inverted_coding": len(chosen)}
    flags = {int(row[1]): "IMP" in row[7].split(";") for row in outcome.rows}
    assert all(flags[int(lines[i][1])] for i in chosen)


def test_impute__much_inverted_coding_stops_the_run(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    chosen = np.random.default_rng(3).choice(len(lines), len(lines) // 5, replace=False).tolist()
    invert(lines, chosen)
    target = cohort.target(lines)
    outcome = impute(target)
    line = refused(outcome, "TARGET")
    n_found = sum(row["reason"] in ("inverted_coding", "contradicted") for row in outcome.qc)
    assert f"{n_found} of {len(lines)} typed sites ({n_found / len(lines):.1%}) are damaged" in line
    assert "out.qc.tsv lists them" in line
    assert "--keep-going damaged" in line
    listed = {int(row["position"]) for row in outcome.qc}
    truly = {int(lines[i][1]) for i in chosen}
    assert len(listed & truly) >= 0.8 * len(truly)
    assert len(listed - truly) <= 0.05 * len(lines)
    silent = impute(
        target, "--loo-samples", "0", "--max-damaged-share", "1", "--qc-from", str(cohort.folder / "none.tsv")
    )
    refused(silent, "INPUT")
    goes_on = impute(target, "--keep-going", "damaged")
    assert goes_on.code == 0
    assert dosage_r2(goes_on, cohort) > 0.7


def test_impute__records_that_are_no_panel_sites_are_counted_listed_and_passed_through(
    cohort: Cohort, impute: Impute
) -> None:
    clean = impute(cohort.target(cohort.lines()), out="clean.vcf.gz")
    lines = cohort.lines()
    calls = ["0|1"] * N_TARGETS
    first = lines[0]
    extra = [
        record(int(first[1]) - 1, calls, ref="A", alt="C").split("\t"),
        [*first],
        record(
            int(lines[3][1]), ["1|2"] * N_TARGETS, ref=lines[3][3], alt="A,C,G,T".replace(f"{lines[3][3]},", "")
        ).split("\t"),
        record(int(lines[5][1]) + 1, calls, ref="A", alt=".").split("\t"),
    ]
    extra[3][9:] = ["0|0"] * N_TARGETS
    target = cohort.target(sorted([*lines, *extra], key=lambda line: int(line[1])))
    outcome = impute(target)
    assert outcome.reasons() == {"used": len(lines), "not_in_panel": 1, "duplicate": 1, "multiallelic": 1, "no_alt": 1}
    assert sorted(row["reason"] for row in outcome.qc) == ["duplicate", "multiallelic", "no_alt", "not_in_panel"]
    assert all(row["meaning"] for row in outcome.qc)
    assert outcome.format_columns == clean.format_columns
    passed = impute(target, "--pass-through", out="passed.vcf.gz")
    kept = [row for row in passed.rows if row[7] == "UNUSED"]
    assert len(kept) == 4
    assert sorted(row[9] for row in kept) == sorted(["0|1", first[9], "1|2", "0|0"])
    assert [row[:5] + row[8:] for row in passed.rows if row[7] != "UNUSED"] == clean.format_columns
    assert [int(row[1]) for row in passed.rows] == sorted(int(row[1]) for row in passed.rows)


def test_impute__missing_calls_are_imputed_and_their_rates_reported(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    rng = np.random.default_rng(8)
    blanks = rng.random((len(lines), N_TARGETS)) < 0.02
    blanks[:, 2] = rng.random(len(lines)) < 0.3
    blanks[7] = True
    true = {(int(line[1]), s): line[9 + s] for line in lines for s in range(N_TARGETS)}
    for line, row in zip(lines, blanks, strict=True):
        line[9:] = ["./." if blank else cell for cell, blank in zip(line[9:], row, strict=True)]
    outcome = impute(cohort.target(lines))
    assert outcome.code == 0
    assert outcome.reasons() == {"used": len(lines) - 1, "no_calls": 1}
    n_used = len(lines) - 1
    for s, name in enumerate(cohort.truth.samples):
        wanted = (blanks[:, s].sum() - 1) / n_used
        assert outcome.summary["samples"][name]["missing_share"] == pytest.approx(wanted, abs=1e-5)
    assert f"sample {cohort.truth.samples[2]} misses " in outcome.stderr
    right = total = 0
    for row in outcome.rows:
        for s, cell in enumerate(row[9:]):
            gt = cell.split(":")[0]
            assert "." not in gt
            called = true.get((int(row[1]), s))
            if called is not None:
                blank = blanks[[int(line[1]) for line in lines].index(int(row[1])), s]
                assert blank or gt == called
                right += blank and gt == called
                total += blank
    assert right > 0.8 * total


def test_impute__missing_calls_beyond_a_daemons_limit_are_refused_by_name(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    for line in lines[:60]:
        line[9 + 4] = ".|."
    target = cohort.target(lines)
    with serve({"chr20": cohort.panel}) as daemon:
        line = refused(impute(target, "--daemon", daemon.address), "TARGET")
    assert f"sample {cohort.truth.samples[4]}: misses " in line
    assert "the daemon allows 5%" in line
    assert impute(target).code == 0


def test_impute__sample_without_any_call(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    for line in lines:
        line[9 + 1] = "."
    line_ = refused(impute(cohort.target(lines)), "TARGET")
    assert f"sample {cohort.truth.samples[1]}: has no call at any typed site of 20: leave it out" in line_
    for line in lines:
        line[9 + 3] = line[9 + 4] = "./."
    assert "of 20 (nor have 2 other samples): leave it out" in refused(impute(cohort.target(lines)), "TARGET")


def test_impute__unphased_heterozygotes_are_refused_before_any_work(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    lines[4][9:] = ["0/0", "0/1", "1/0", "1/1", "0|1", "0|0"]
    lines[9][9] = "0/1"
    cohort.panel_file.unlink()
    line = refused(impute(cohort.target(lines)), "UNPHASED")
    assert f"record 20:{lines[4][1]} {lines[4][3]}>{lines[4][4]}, sample {cohort.truth.samples[1]}" in line
    assert "3 heterozygous genotypes in 2 records" in line
    for tool in ("Beagle", "SHAPEIT5", "Eagle"):
        assert tool in line


@pytest.mark.parametrize("call", ["0", "0|1|1"])
def test_impute__other_ploidy_is_refused_with_sample_and_site(cohort: Cohort, impute: Impute, call: str) -> None:
    lines = cohort.lines()
    lines[4][9 + 3] = call
    line = refused(impute(cohort.target(lines)), "PLOIDY")
    assert f"record 20:{lines[4][1]} " in line
    assert f"sample {cohort.truth.samples[3]}: has {len(call.split('|'))} allele(s)" in line


def test_impute__thin_stretch_is_named_and_refused_or_left_out(cohort: Cohort, impute: Impute) -> None:
    lines = [line for line in cohort.lines() if not 450_000 < int(line[1]) < 650_000]
    target = cohort.target(lines)
    line = refused(impute(target, map=cohort.long_map_file), "TARGET")
    assert "fewer than 8 typed sites within 2 cM of " in line
    assert "--keep-going sparse" in line
    region = line.partition(" in 20:")[2].split(";")[0]
    start, stop = (int(x) for x in region.split("-"))
    assert 450_000 < start < 520_000 < 580_000 < stop < 650_000
    outcome = impute(target, "--keep-going", "sparse", map=cohort.long_map_file)
    assert outcome.code == 0
    positions = [int(row[1]) for row in outcome.rows]
    assert positions == [p for p in cohort.panel.positions.tolist() if not start <= p <= stop]
    assert f"20:{start}-{stop}: too few typed sites, {N_SITES - len(positions)} sites left out" in outcome.stderr
    (left_out,) = outcome.summary["contigs"]["20"]["left_out"]  # type: ignore[misc]
    assert left_out == {"start": start, "stop": stop, "sites": N_SITES - len(positions)}


def test_impute__too_few_typed_sites_in_all_are_not_to_be_left_out(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines()[:6])
    for options in ([], ["--keep-going", "sparse"]):
        line = refused(impute(target, *options), "TARGET")
        assert f"fewer than 8 typed sites within 2 cM of {N_SITES} of {N_SITES} panel sites" in line
        assert "no stretch has enough (6 in all): the targets need denser typing" in line
        assert "--keep-going" not in line
        assert "--least-typed" in line


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1000\t20\t0\n2000\t20\t1\n", "covers 20:1000-2000"),
        ("90000\t7\t0\n910000\t7\t40\n", "the map is for 7, not for 20"),
    ],
    ids=["elsewhere", "other contig"],
)
def test_impute__map_that_does_not_fit_is_refused(cohort: Cohort, impute: Impute, rows: str, message: str) -> None:
    other = cohort.folder / "other.gmap"
    other.write_text("pos\tchr\tcM\n" + rows)
    assert message in refused(impute(cohort.target(cohort.lines()), map=other), "GENETIC_MAP")


def test_impute__samples_of_the_panel_are_left_out_of_their_own_retrieval(cohort: Cohort, impute: Impute) -> None:
    """The canary: a person of the panel, under the own name and renamed, is caught; with the guard off r² is 1."""
    rows = [5, 9]
    planted = dataclasses.replace(cohort, truth=cohort.panel.select_samples([cohort.panel.samples[i] for i in rows]))
    names = [cohort.panel.samples[5], "renamed"]
    target = planted.target(planted.lines(), samples=names)
    outcome = impute(target)
    assert outcome.code == 0
    listed = outcome.out.with_name("out.qc.json")
    assert (
        "20: the panel holds 2 of 2 target samples, which do not copy from themselves:"
        f" P05 (by name and by genotype), renamed = P09 (by genotype); {listed} lists them"
    ) in outcome.stderr.splitlines()
    found = outcome.summary["contigs"]["20"]["samples_in_panel"]
    assert [(p["sample"], p["panel_samples"], p["by_name"], p["by_genotype"]) for p in found] == [  # type: ignore[attr-defined, index]
        ("P05", ["P05"], True, True),
        ("renamed", ["P09"], False, True),
    ]
    assert [p["concordance"] for p in found] == [1, 1]  # type: ignore[attr-defined]
    unguarded = impute(target, "--allow-panel-samples", out="unguarded.vcf.gz")
    assert dosage_r2(unguarded, planted) > 0.995
    assert dosage_r2(outcome, planted) < dosage_r2(unguarded, planted) - 0.01


def test_impute__many_targets_of_the_panel_are_one_line(cohort: Cohort, impute: Impute) -> None:
    planted = dataclasses.replace(cohort, truth=cohort.panel.select_samples(cohort.panel.samples[:20]))
    outcome = impute(planted.target(planted.lines()))
    (line,) = [line for line in outcome.stderr.splitlines() if "copy from themselves" in line]
    assert "the panel holds 20 of 20 target samples" in line
    assert [name for name in planted.truth.samples if name in line] == list(planted.truth.samples[:3])
    assert " and 17 more; " in line
    assert len(outcome.summary["contigs"]["20"]["samples_in_panel"]) == 20  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spoil", "reason", "message"),
    [
        (lambda c: c.target(c.lines()[::-1], "t.vcf"), "UNSORTED", "`bcftools sort`"),
        (lambda c: c.target([], "t.vcf"), "EMPTY_INPUT", "no record"),
        (
            lambda c: write_vcf(c.folder / "t.vcf", vcf_text([], ["20\t1\t.\tA\tC\t.\t.\t."])),
            "EMPTY_INPUT",
            "no samples",
        ),
        (lambda c: cut(c.target(c.lines())), "TRUNCATED_FILE", "ends early"),
        (lambda c: text_file(c.folder / "t.vcf", ""), "EMPTY_INPUT", "empty"),
        (lambda c: text_file(c.folder / "t.vcf", "hello\n"), "NOT_VCF", "neither VCF nor BCF"),
        (lambda c: c.folder / "nothing.vcf", "INPUT", "no such file"),
        (
            lambda c: c.target(c.lines(contig="7"), contigs={"7": 159_138_663}),
            "UNKNOWN_CONTIG",
            "has none of its contigs: 7",
        ),
    ],
    ids=["unsorted", "no record", "no samples", "truncated", "empty", "no vcf", "no file", "other contig"],
)
def test_impute__files_that_cannot_be_used(
    cohort: Cohort, impute: Impute, spoil: Callable[[Cohort], Path], reason: str, message: str
) -> None:
    assert message in refused(impute(spoil(cohort)), reason)


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def text_file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_impute__region_of_an_unindexed_target(cohort: Cohort, impute: Impute) -> None:
    outcome = impute(cohort.target(cohort.lines()), "--region", "chr20:300000-700000")
    assert outcome.code == 0
    positions = [int(row[1]) for row in outcome.rows]
    assert positions == [p for p in cohort.panel.positions.tolist() if 300_000 <= p <= 700_000]
    # What lies around it is its context: the same answers as from the whole contig.
    whole = {int(row[1]): row for row in impute(cohort.target(cohort.lines()), out="whole.vcf.gz").format_columns}
    assert outcome.format_columns == [whole[position] for position in positions]
    empty = refused(impute(cohort.target(cohort.lines()), "--region", "20:950000-990000", out="e.vcf.gz"), "TARGET")
    assert "the panel has no site in the region" in empty


def test_impute__region_in_any_format_with_records_passed_through(
    cohort: Cohort, impute: Impute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows that lie in the region in part have pieces without a site; what is passed through stays inside, too."""
    import cyvcf2

    monkeypatch.setattr("vcfrag_train.window_pieces._CELLS_PER_PIECE", 5 * N_TARGETS)
    lines = cohort.lines()
    strangers = [record(position, ["0|1"] * N_TARGETS).split("\t") for position in (299_999, 350_001, 650_001, 700_001)]
    target = cohort.target(sorted([*lines, *strangers], key=lambda line: int(line[1])))
    options = ("--region", "20:300000-700000", "--pass-through", "--format", "GT,DS,HDS,GP,LOO")
    text = impute(target, *options, map=cohort.long_map_file)
    binary = impute(target, *options, map=cohort.long_map_file, out="out.bcf")
    read = [[str(v) for v in cyvcf2.VCF(str(o.out))] for o in (text, binary)]
    assert [line.split("\t")[9:] for line in read[0]] == [line.split("\t")[9:] for line in read[1]]
    inside = [p for p in cohort.panel.positions.tolist() if 300_000 <= p <= 700_000]
    assert [int(line.split("\t")[1]) for line in read[0]] == sorted([*inside, 350_001, 650_001])
    assert f"20: {len(inside)} of these panel sites lie in the region; the others are context" in text.stderr


def test_impute__region_against_a_daemon_of_the_whole_panel(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    with serve({"chr20": cohort.panel}) as daemon:
        remote = impute(target, "--daemon", daemon.address, "--region", "20:300000-700000", out="remote.vcf.gz")
    assert remote.format_columns == impute(target, "--region", "20:300000-700000").format_columns


def test_impute__several_contigs(cohort: Cohort, impute: Impute) -> None:
    """A panel of two contigs, a target of those and a third."""
    from tests.vcf_text import calls_of

    def lines(panel: Panel, contig: str, chosen: np.ndarray) -> list[str]:
        calls = calls_of(panel)
        sites = zip(panel.positions.tolist(), panel.refs, panel.alts, strict=True)
        return [
            record(p, calls[i], contig=contig, ref=ref, alt=alt) for i, (p, ref, alt) in enumerate(sites) if chosen[i]
        ]

    everything = np.ones(N_SITES, dtype=np.bool_)
    contigs = {"20": 63_025_520, "21": 48_129_895, "22": 51_304_566}
    panel_text = vcf_text(
        cohort.panel.samples,
        [*lines(cohort.panel, "20", everything), *lines(cohort.panel, "21", everything)],
        contigs=contigs,
    )
    cohort.panel_file.unlink()
    write_vcf(cohort.panel_file, panel_text, index=True)
    both = cohort.folder / "both.gmap"
    body = cohort.map_file.read_text().splitlines()[1:]
    both.write_text("\n".join(["pos\tchr\tcM", *body, *(line.replace("\t20\t", "\t21\t") for line in body)]) + "\n")
    text = [line for contig in ("20", "21", "22") for line in lines(cohort.truth, contig, cohort.typed)]
    target = write_vcf(cohort.folder / "t.vcf", vcf_text(cohort.truth.samples, text, contigs=contigs))
    outcome = impute(target, map=both)
    assert outcome.code == 0
    assert f"contig 22: not in the panel; its {cohort.typed.sum()} records are left out" in outcome.stderr
    rows = outcome.format_columns
    assert [row[0] for row in rows] == ["20"] * N_SITES + ["21"] * N_SITES
    # The same data on both contigs: the same answers, but for ties, which are broken by content.
    assert rows[0][1:5] == rows[N_SITES][1:5]
    assert outcome.reasons("22") == {"not_in_panel": int(cohort.typed.sum())}


# --- QC files


def test_impute__qc_from_applies_a_given_file(cohort: Cohort, impute: Impute) -> None:
    lines = cohort.lines()
    chosen = unambiguous(lines)
    swapped(lines[chosen[2]])
    swapped(lines[chosen[5]])
    invert(lines, [chosen[8]])
    target = cohort.target(lines)
    first = impute(target, "--fix-swaps", "--qc", str(cohort.folder / "mine.tsv"))
    table = cohort.folder / "mine.tsv"
    rows = table.read_text().splitlines()
    assert len(rows) == 4
    assert (cohort.folder / "mine.json").is_file()
    again = impute(target, "--qc-from", str(table))
    assert again.format_columns == first.format_columns
    # Also without the swap that is listed as mended, with one more site dropped by hand, under an alias.
    dropped = lines[20]
    edited = [rows[0], *(row for row in rows[1:] if "swap_mended" not in row)]
    edited.append("\t".join(["chr20", *(dropped[i] for i in (1, 3, 4)), "listed", "no"]))
    table.write_text("\n".join(edited) + "\n")
    third = impute(target, "--qc-from", str(table))
    assert third.reasons() == {"used": len(lines) - 4, "swapped": 2, "inverted_coding": 1, "listed": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "not a QC file"),
        ("contig\tposition\tref\talt\treason\n20\tx\tA\tC\tlisted\n", "line 2"),
        ("contig\tposition\tref\talt\treason\n20\t5\tA\tC\tugly\n", "unknown reason 'ugly'"),
    ],
)
def test_impute__qc_from_refuses_other_files(cohort: Cohort, impute: Impute, text: str, message: str) -> None:
    table = text_file(cohort.folder / "q.tsv", text)
    assert message in refused(impute(cohort.target(cohort.lines()), "--qc-from", str(table)), "INPUT")


# --- what must not change the output


@pytest.mark.parametrize("by_copying", [True, False], ids=["copying", "default model"])
def test_impute__columns_depend_neither_on_threads_nor_on_order_nor_on_company(
    cohort: Cohort, impute: Impute, by_copying: bool
) -> None:
    impute = functools.partial(impute, by_copying=by_copying)
    lines = cohort.lines()
    lines[6][9 + 1] = ".|."
    together = impute(cohort.target(lines))
    threaded = impute(cohort.target(lines), "--threads", "2", out="threads.vcf.gz")
    assert threaded.format_columns == together.format_columns
    order = [4, 1, 5, 0, 3, 2]
    names = [cohort.truth.samples[s] for s in order]
    shuffled_lines = [[*line[:9], *(line[9 + s] for s in order)] for line in lines]
    shuffled = impute(cohort.target(shuffled_lines, "shuffled.vcf.gz", names), out="shuffled-out.vcf.gz")
    used = str(together.out.with_name("out.qc.tsv"))
    for row, other in zip(together.format_columns, shuffled.format_columns, strict=True):
        assert other == row[:6] + [row[6 + s] for s in order]
    for s in (1, 3):
        alone_lines = [[*line[:9], line[9 + s]] for line in lines]
        target = cohort.target(alone_lines, f"alone{s}.vcf.gz", [cohort.truth.samples[s]])
        alone = impute(target, "--qc-from", used, out=f"alone{s}-out.vcf.gz")
        assert alone.format_columns == [[*row[:6], row[6 + s]] for row in together.format_columns]


# --- interruption


class BrokenOff(impute_pipeline.Watcher):
    """Interrupts the run after some sites."""

    def __init__(self, after: int) -> None:
        self.after = after

    def sites(self, done: int, total: int) -> None:
        if 0 < self.after <= done < total:
            raise KeyboardInterrupt


def config_for(cohort: Cohort, target: Path, **options: object) -> ImputeConfig:
    return ImputeConfig(
        panel=cohort.panel_file,
        target=target,
        out=cohort.folder / "out.vcf.gz",
        map=cohort.long_map_file,
        copying_only=True,
        **options,  # type: ignore[arg-type]
    )


def test_impute__interrupted_run_is_taken_up(cohort: Cohort, impute: Impute, monkeypatch: pytest.MonkeyPatch) -> None:
    target = cohort.target(cohort.lines())
    whole = impute(target, out="whole.vcf.gz", map=cohort.long_map_file)
    config = config_for(cohort, target)
    with pytest.raises(KeyboardInterrupt):
        impute_pipeline.run_impute(config, BrokenOff(150))
    parts = config.out.with_name(".out.vcf.gz.parts")
    assert not config.out.exists()
    n_parts = len(list(parts.glob("*.part")))
    assert n_parts >= 1
    windows: list[int] = []
    original = impute_pipeline.Imputer.impute

    def counted(self, alleles, observed, samples, todo):  # type: ignore[no-untyped-def]
        windows.append(len(todo))
        return original(self, alleles, observed, samples, todo)

    monkeypatch.setattr(impute_pipeline.Imputer, "impute", counted)
    resumed = impute(target, "--resume", map=cohort.long_map_file)
    assert resumed.code == 0
    assert windows[0] >= 1
    assert resumed.format_columns == whole.format_columns
    assert [row[7] for row in resumed.rows] == [row[7] for row in whole.rows]
    assert not parts.exists()
    again = impute(target, out="again.vcf.gz", map=cohort.long_map_file)
    assert again.code == 0
    assert windows[1] == windows[0] + n_parts


def test_impute__interruption_says_how_to_go_on(
    cohort: Cohort, impute: Impute, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = impute_pipeline.WindowPieces.of

    def interrupted(self, window, dosage):  # type: ignore[no-untyped-def]
        if window.number > 0:
            raise KeyboardInterrupt
        return original(self, window, dosage)

    monkeypatch.setattr(impute_pipeline.WindowPieces, "of", interrupted)
    outcome = impute(cohort.target(cohort.lines()), map=cohort.long_map_file)
    assert outcome.code == 130
    parts = outcome.out.with_name(".out.vcf.gz.parts")
    last = outcome.stderr.splitlines()[-1]
    assert last == f"{parts} keeps what is written; the same command with --resume goes on"
    monkeypatch.undo()
    assert impute(cohort.target(cohort.lines()), "--resume", map=cohort.long_map_file).code == 0


def test_impute__another_input_is_not_taken_up(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    config = config_for(cohort, target)
    with pytest.raises(KeyboardInterrupt):
        impute_pipeline.run_impute(config, BrokenOff(150))
    fewer = cohort.target(cohort.lines()[1:])
    outcome = impute(fewer, "--resume", map=cohort.long_map_file)
    line = refused(outcome, "PROVENANCE_MISMATCH")
    assert "mask" in line
    assert "without --resume" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loo-folds", "1"], "--loo-folds >= 2"),
        (["--max-damaged-share", "2"], "[0, 1]"),
        (["--qc", "nowhere/x.tsv"], "there is no folder"),
        (["--checkpoint", "run"], "--copying-only uses no --checkpoint"),
    ],
)
def test_impute__settings_that_make_no_sense(cohort: Cohort, impute: Impute, options: list[str], message: str) -> None:
    assert message in refused(impute(cohort.target(cohort.lines()), *options), "CONFIG")


def test_impute__a_checkpoint_that_is_not_there_is_refused_before_anything_is_read(
    cohort: Cohort, impute: Impute
) -> None:
    outcome = impute(cohort.folder / "none.vcf", "--checkpoint", "runs/none", by_copying=False)
    assert "--checkpoint runs/none: there is no such folder" in refused(outcome, "CONFIG")


def test_impute__output_names(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    for out, message in (("o.vcf", "must end in"), ("no/o.bcf", "no folder"), ("target.vcf.gz", "is an input")):
        outcome = impute(target, out=out)
        assert outcome.code == 2
        assert message in outcome.stderr
    assert target.is_file()


@pytest.mark.soak
@pytest.mark.timeout(2400)
def test_impute__whole_chromosome_within_four_gib(tmp_path: Path) -> None:
    """100 targets x 170,000 panel sites of a panel file, in a process of its own."""
    n_sites, n_panel, n_targets = 170_000, 400, 100
    rng = np.random.default_rng(1)
    founders = (rng.random((60, n_sites)) < rng.beta(0.15, 1.2, n_sites)).astype(np.int8)
    rows = []
    for _ in range(2 * (n_panel + n_targets)):
        cuts = np.sort(rng.integers(0, n_sites, 600))
        lengths = np.diff(np.concatenate(([0], cuts, [n_sites])))
        rows.append(founders[np.repeat(rng.integers(0, 60, 601), lengths), np.arange(n_sites)])
    haplotypes = np.stack(rows)
    positions = np.sort(rng.choice(np.arange(60_000, 63_000_000), n_sites, replace=False))
    panel = Panel.from_haplotypes(haplotypes[: 2 * n_panel], contig="20", positions=positions)
    targets = Panel.from_haplotypes(haplotypes[2 * n_panel :], contig="20", positions=positions)
    typed = np.sort(rng.choice(n_sites, 10_000, replace=False))
    write_haplotypes(tmp_path / "panel.bcf", panel)
    names = [f"T{i}" for i in range(n_targets)]
    chosen = targets.select_sites(typed)
    write_haplotypes(tmp_path / "target.bcf", dataclasses.replace(chosen, samples=tuple(names)))
    (tmp_path / "map.gmap").write_text("pos\tchr\tcM\n60000\t20\t0\n63000000\t20\t108\n")
    words = "impute --panel panel.bcf --target target.bcf --map map.gmap --out out.vcf.gz --threads 2 --copying-only"
    code = (
        "import resource, sys\nfrom vcfrag_train.cli import main\n"
        f"try:\n    main({words.split()!r})\n"
        "finally:\n    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "VCFRAG_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    assert "170000 records of 100 samples" in done.stdout
    assert int(done.stderr.split()[-1]) * 1024 < 4 * 1024**3


def write_haplotypes(path: Path, panel: Panel) -> None:
    """A phased BCF of known alleles, by our own writer: a text of this size would take minutes."""
    with ImputedWriter(path, formats=("GT",), contigs=[panel.contig]) as writer:
        writer.begin(panel.contig, {})
        for number, sites in enumerate(np.array_split(np.arange(panel.n_sites), 20)):
            alleles = alleles_at(panel, sites).astype(np.int8)
            typed = np.ones(len(sites), dtype=np.bool_)
            records = site_records(panel, sites, dosage=alleles.astype(np.float32), alleles=alleles, typed=typed)
            writer.write(panel.contig, number, [records])
        header = Header(samples=panel.samples, contigs={panel.contig: 63_025_520}, formats=("GT",), provenance=())
        writer.finish(header)
