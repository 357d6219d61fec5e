"""`vcfrag impute` on chromosome X: men in every coding, women, and the pseudo-autosomal regions."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import generated_x
from tests.impute_cohort import Impute, Outcome, refused
from tests.plink_files import write_pgen
from tests.vcf_text import record, vcf_text, write_vcf
from vcfrag_core.files.dosages import sample_names
from vcfrag_core.panel.panel import Panel
from vcfrag_train.simulate.simulate import SimulationConfig

N_PAR, N_REST = 120, 280
N_PANEL, N_TARGETS = 60, 6
LENGTHS = {"X": 155_270_560}
MakePanel = Callable[..., Panel]


@dataclasses.dataclass(frozen=True)
class OnX:
    """Haplotypes of everybody at sites of the first pseudo-autosomal region and beyond; every second one is a man."""

    folder: Path
    positions: np.ndarray
    haplotypes: np.ndarray
    typed: np.ndarray

    @property
    def targets(self) -> list[str]:
        return [f"T{i}" for i in range(N_TARGETS)]

    def lines(
        self, samples: Sequence[int], man: Callable[[int], str], sites: np.ndarray, contig: str = "X"
    ) -> list[str]:
        """Records of some people, men written beyond the region as `man` says."""
        made = []
        for site in np.flatnonzero(sites).tolist():
            cells = []
            for s in samples:
                a, b = self.haplotypes[2 * s : 2 * s + 2, site].tolist()
                cells.append(man(a) if s % 2 and site >= N_PAR else f"{a}|{b}")
            made.append(record(int(self.positions[site]), cells, contig="X"))
        return made

    def panel(self, name: str = "panel.vcf.gz", man: Callable[[int], str] = str) -> Path:
        lines = self.lines(range(N_PANEL), man, np.ones(len(self.positions), dtype=np.bool_))
        return write_vcf(self.folder / name, vcf_text([f"P{i}" for i in range(N_PANEL)], lines, contigs=LENGTHS))

    def target(self, man: Callable[[int], str], name: str = "t.vcf") -> Path:
        lines = self.lines(range(N_PANEL, N_PANEL + N_TARGETS), man, self.typed)
        return write_vcf(self.folder / name, vcf_text(self.targets, lines, contigs=LENGTHS))

    def dosages(self, outcome: Outcome) -> np.ndarray:
        """(V, S) DS."""
        assert outcome.code == 0, outcome.stderr
        return np.array([[float(cell.split(":")[1]) for cell in row[9:]] for row in outcome.rows])

    def truth(self) -> np.ndarray:
        """(V, S) ALT copies, of men one beyond the region."""
        theirs = self.haplotypes[2 * N_PANEL :].reshape(N_TARGETS, 2, -1)
        copies = theirs.sum(axis=1).T
        copies[N_PAR:, 1::2] = theirs[1::2, 0, N_PAR:].T
        return copies


@pytest.fixture
def on_x(tmp_path: Path, make_panel: MakePanel) -> OnX:
    everyone = make_panel(n_samples=N_PANEL + N_TARGETS, n_sites=N_PAR + N_REST, seed=3)
    rng = np.random.default_rng(6)
    par = np.sort(rng.choice(np.arange(100_000, 2_600_000), N_PAR, replace=False))
    rest = np.sort(rng.choice(np.arange(3_000_000, 9_000_000), N_REST, replace=False))
    return OnX(tmp_path, np.concatenate([par, rest]), everyone.haplotypes(), rng.random(N_PAR + N_REST) < 0.5)


CODINGS: dict[str, Callable[[int], str]] = {
    "one allele": lambda a: f"{a}",
    "homozygous": lambda a: f"{a}|{a}",
    "homozygous without phase": lambda a: f"{a}/{a}",
    "half missing": lambda a: f"{a}/.",
}


def test_impute__men_of_x_are_the_same_in_every_coding(on_x: OnX, impute: Impute) -> None:
    panel = on_x.panel()
    found = {}
    for number, (name, man) in enumerate(CODINGS.items()):
        outcome = impute(on_x.target(man, f"t{number}.vcf"), panel=panel, out=f"{number}.vcf.gz", map=None)
        assert outcome.code == 0, outcome.stderr
        assert "men and" in outcome.stderr
        found[name] = outcome.format_columns
    assert all(columns == found["one allele"] for columns in found.values())
    assert [int(row[1]) for row in found["one allele"]] == on_x.positions.tolist()
    for row in found["one allele"]:
        cells = [cell.split(":") for cell in row[6:]]
        men, beyond = cells[1::2], int(row[1]) > 2_699_520
        assert all(("|" in gt) is not beyond for gt, *_ in men)
        assert all("|" in gt for gt, *_ in cells[0::2])
        assert not beyond or all(0 <= float(ds) <= 1 and hds == ds for _, ds, hds, _ in men)


def test_impute__both_sexes_are_imputed_well(on_x: OnX, impute: Impute) -> None:
    outcome = impute(on_x.target(str), panel=on_x.panel(), map=None)
    dosage, truth = on_x.dosages(outcome), on_x.truth()
    hidden = ~on_x.typed
    for part in (slice(0, N_PAR), slice(N_PAR, None)):
        for people in (slice(0, None, 2), slice(1, None, 2)):
            both = [array[part][hidden[part]][:, people].ravel() for array in (dosage, truth)]
            assert np.corrcoef(*both)[0, 1] ** 2 > 0.6
    contigs = outcome.summary["contigs"]
    assert len(contigs) == 2
    (_, beyond) = contigs.values()
    assert beyond["sexes"]["men"] == ["T1", "T3", "T5"]  # type: ignore[index]


def test_impute__a_panel_with_homozygous_men_is_that_with_haploid_ones(on_x: OnX, impute: Impute) -> None:
    target = on_x.target(str)
    plain = impute(target, panel=on_x.panel(), map=None, out="plain.vcf.gz")
    written = impute(target, panel=on_x.panel("doubled.vcf.gz", CODINGS["homozygous"]), map=None)
    assert written.code == 0, written.stderr
    assert written.format_columns == plain.format_columns


def test_impute__x_of_a_plink_set_with_its_codes(on_x: OnX, impute: Impute) -> None:
    """Chromosomes 23 and 25, men homozygous, sexes in the .psam."""
    plain = impute(on_x.target(str), panel=on_x.panel(), map=None, out="plain.vcf.gz")
    sites = np.flatnonzero(on_x.typed).tolist()
    alleles = on_x.haplotypes[2 * N_PANEL :].reshape(N_TARGETS, 2, -1)[:, :, sites].transpose(2, 0, 1).astype(np.int8)
    beyond = np.array(sites) >= N_PAR
    alleles[np.ix_(beyond, [1, 3, 5], [1])] = alleles[np.ix_(beyond, [1, 3, 5], [0])]
    variants = [("23" if site >= N_PAR else "25", int(on_x.positions[site]), "A", "C") for site in sites]
    psam = ["#IID\tSEX", *(f"{name}\t{1 + (i % 2 == 0)}" for i, name in enumerate(on_x.targets))]
    outcome = impute(write_pgen(on_x.folder / "set", variants, alleles, psam), panel=on_x.panel(), map=None)
    assert outcome.code == 0, outcome.stderr
    assert outcome.format_columns == plain.format_columns
    assert "3 men and 3 women (told by: given 6)" in outcome.stderr


def test_impute__heterozygous_men_are_missing_and_counted(on_x: OnX, impute: Impute) -> None:
    lines = [
        line.split("\t") for line in on_x.lines(range(N_PANEL, N_PANEL + N_TARGETS), CODINGS["homozygous"], on_x.typed)
    ]
    beyond = [i for i, line in enumerate(lines) if int(line[1]) > 2_699_520]
    for i in beyond[10:13]:
        lines[i][9 + 3] = "0/1"
    path = write_vcf(on_x.folder / "t.vcf", vcf_text(on_x.targets, ["\t".join(x) for x in lines], contigs=LENGTHS))
    outcome = impute(path, panel=on_x.panel(), map=None)
    assert outcome.code == 0, outcome.stderr
    assert "3 heterozygous calls of 1 samples with one haplotype count as missing" in outcome.stderr


def test_impute__sex_may_be_given(on_x: OnX, impute: Impute) -> None:
    table = on_x.folder / "sex.txt"
    table.write_text("name sex\n" + "".join(f"{n} {'FM'[i % 2]}\n" for i, n in enumerate(on_x.targets)))
    plain = impute(on_x.target(str), panel=on_x.panel(), map=None, out="plain.vcf.gz")
    outcome = impute(on_x.target(CODINGS["homozygous"]), "--sex", str(table), panel=on_x.panel(), map=None)
    assert outcome.format_columns == plain.format_columns
    assert "told by: given 6" in outcome.stderr
    table.write_text("T1 boy\nT2 F\nT3 girl\n")
    again = impute(on_x.target(str), "--sex", str(table), panel=on_x.panel(), map=None, out="other.vcf.gz")
    assert "needs a sample and its sex" in refused(again, "SAMPLE_TABLE")


@pytest.mark.parametrize("suffix", [".vcf.gz", ".bcf"])
def test_impute__dosage_of_men_for_association(on_x: OnX, impute: Impute, suffix: str) -> None:
    from cyvcf2 import VCF

    panel, target = on_x.panel(), on_x.target(str)
    once = impute(target, panel=panel, map=None, out=f"once{suffix}")
    twice = impute(target, "--x-male-dosage", "2", panel=panel, map=None, out=f"twice{suffix}")
    assert once.code == twice.code == 0
    one, two = (np.array([record.format("DS")[:, 0] for record in VCF(str(each.out))]) for each in (once, twice))
    men = np.arange(N_TARGETS) % 2 == 1
    beyond = np.arange(len(on_x.positions)) >= N_PAR
    factor = 1 + (beyond[:, None] & men)
    np.testing.assert_allclose(two, one * factor, atol=1e-6)
    wrong = impute(target, "--x-male-dosage", "3", panel=panel, map=None, out=f"wrong{suffix}")
    assert "is 1 or 2" in refused(wrong, "CONFIG")


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not installed (scripts/debian_packages.sh)")
@pytest.mark.parametrize("suffix", [".pgen", ".bgen"])
@pytest.mark.parametrize("how", [[], ["--samples-per-chunk", "4"]], ids=["one process", "job"])
def test_impute__plink2_is_told_of_the_pseudo_autosomal_regions(
    on_x: OnX, impute: Impute, suffix: str, how: list[str]
) -> None:
    outcome = impute(on_x.target(str), *how, panel=on_x.panel(), map=None, out=f"o{suffix}")
    assert outcome.code == 0, outcome.stderr
    (command,) = re.findall("`(plink2 .*)` sets it right\n", outcome.stderr)
    given = command[: command.index(" --split-par b37 --make-pgen")]

    def plink2(words: str) -> None:
        every = [*shlex.split(words), "--threads", "1", "--memory", "1024"]
        done = subprocess.run(every, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def counted(words: str, name: str) -> tuple[set[str], set[str]]:
        """Chromosomes and counted haplotypes of the sites in the region, and of those beyond."""
        out = on_x.folder / name
        plink2(f"{words} --freq --out {out}")
        rows = [line.split() for line in out.with_suffix(".afreq").read_text().splitlines()[1:]]
        found = [f"{row[0]} {row[-1]}" for row in rows]
        return set(found[:N_PAR]), set(found[N_PAR:])

    assert counted(given, "before") == ({"X 9"}, {"X 9"})
    plink2(command)
    assert counted(f"plink2 --pfile {on_x.folder / 'o.par'}", "after") == ({"PAR1 12"}, {"X 9"})


def test_impute__plink2_is_told_of_nothing_else(on_x: OnX, impute: Impute) -> None:
    regions = {"o.vcf.gz": "X", "beyond.pgen": "X:3000000-", "par.pgen": "X:1-2699520"}
    for out, region in regions.items():
        outcome = impute(on_x.target(str), "--region", region, panel=on_x.panel(), map=None, out=out)
        assert "--split-par" not in outcome.stderr
        assert outcome.code == 0, outcome.stderr


def test_evaluate__both_sexes_apart(on_x: OnX, impute: Impute) -> None:
    """The scores do not depend on how men are written, in the truth or in the imputed file."""
    from vcfrag_train.evaluation.evaluate import EvaluationConfig, EvaluationFiles, evaluate

    panel, target = on_x.panel(), on_x.target(str)
    everything = np.ones(len(on_x.positions), dtype=np.bool_)
    everyone = range(N_PANEL, N_PANEL + N_TARGETS)
    truth = write_vcf(
        on_x.folder / "truth.vcf", vcf_text(on_x.targets, on_x.lines(everyone, str, everything), contigs=LENGTHS)
    )
    once = impute(target, panel=panel, map=None, out="once.vcf.gz")
    twice = impute(target, "--x-male-dosage", "2", panel=panel, map=None, out="twice.vcf.gz")
    files = EvaluationFiles(
        imputed=(("once", once.out), ("twice", twice.out)),
        truth=truth,
        panels=(panel,),
        typed=target,
        region="X:3000000-9000000",
    )
    found = evaluate(files, EvaluationConfig(resamples=0))
    assert found.populations == {"one haplotype": 3, "two haplotypes": 3}
    first, second = (found.method(name).populations for name in ("once", "twice"))
    for name in found.populations:
        assert first[name][-1].value == second[name][-1].value
        assert first[name][-1].value > 0.5


def test_impute__x_in_jobs_is_x_at_once(on_x: OnX, impute: Impute) -> None:
    panel, target = on_x.panel(), on_x.target(str)
    plain = impute(target, panel=panel, map=None, out="plain.vcf.gz")
    cut = impute(target, "--jobs", "1", "--samples-per-chunk", "4", panel=panel, map=None)
    assert plain.code == cut.code == 0, cut.stderr
    assert cut.format_columns == plain.format_columns


@pytest.mark.parametrize("first", [20, N_PAR - 20, N_PAR + 100])
def test_impute__a_region_of_x_near_another_stretch(on_x: OnX, impute: Impute, first: int) -> None:
    """What is read around a region, its flank, may belong to a stretch of another ploidy."""
    sites = slice(first, first + 51)
    region = f"X:{on_x.positions[sites][0]}-{on_x.positions[sites][-1]}"
    part = impute(on_x.target(str), "--region", region, panel=on_x.panel(), map=None)
    assert part.code == 0, part.stderr
    assert [int(row[1]) for row in part.rows] == on_x.positions[sites].tolist()


def test_impute__a_man_who_is_given_as_a_woman_is_told_of_it(on_x: OnX, impute: Impute, tmp_path: Path) -> None:
    sex = tmp_path / "sex"
    sex.write_text("T1\tF\n")
    outcome = impute(on_x.target(str), "--sex", str(sex), panel=on_x.panel(), map=None)
    assert outcome.code == 2
    assert "T1" in outcome.stderr
    assert "of one allele count as missing, as the sex given is a woman's" in " ".join(outcome.stderr.split())


def test_impute__sites_of_another_part_of_x_are_not_called_absent(on_x: OnX, impute: Impute, tmp_path: Path) -> None:
    wanted, inside = [5, 10, N_PAR + 10, N_PAR + 20], on_x.positions[[5, N_PAR + 10]] + 1
    rows = [f"X\t{position}\tA\tC" for position in (*on_x.positions[wanted].tolist(), *inside.tolist())]
    sites = tmp_path / "sites.tsv"
    sites.write_text("\n".join(["chrom\tpos\tref\talt", *rows]) + "\n")
    outcome = impute(on_x.target(str), "--sites", str(sites), panel=on_x.panel(), map=None)
    assert outcome.code == 0, outcome.stderr
    assert [int(row[1]) for row in outcome.rows] == on_x.positions[wanted].tolist()
    said = " ".join(outcome.stderr.split())
    assert [f"the first X:{position} A>C" in said for position in inside.tolist()] == [True, True]
    assert said.count("1 of the sites that --sites") == 2


def test_impute__x_of_a_file_for_each_part_is_x_of_one(on_x: OnX, impute: Impute) -> None:
    """Pseudo-autosomal regions and the rest often come as files of their own."""
    target = on_x.target(str)
    plain = impute(target, panel=on_x.panel(), map=None, out="plain.vcf.gz")
    parts = []
    for name, sites in (("rest", np.arange(N_PAR, N_PAR + N_REST)), ("par", np.arange(N_PAR))):
        wanted = np.isin(np.arange(len(on_x.positions)), sites)
        lines = on_x.lines(range(N_PANEL), str, wanted)
        text = vcf_text([f"P{i}" for i in range(N_PANEL)], lines, contigs=LENGTHS)
        parts.append(write_vcf(on_x.folder / f"ref.{name}.vcf.gz", text, index=True))
    found = impute(target, "--panel", str(parts[1]), panel=parts[0], map=None)
    assert plain.code == found.code == 0, found.stderr
    assert found.format_columns == plain.format_columns
    lines = on_x.lines(range(N_PANEL), str, np.arange(len(on_x.positions)) >= N_PAR - 10)
    text = vcf_text([f"P{i}" for i in range(N_PANEL)], lines, contigs=LENGTHS)
    wider = write_vcf(on_x.folder / "wider.vcf.gz", text, index=True)
    twice = impute(target, "--panel", str(parts[1]), panel=wider, map=None, out="twice.vcf.gz")
    assert "have sites of contig X from" in refused(twice, "CONFIG")


def test_impute__generated_men_are_the_same_in_every_coding(impute: Impute, tmp_path: Path) -> None:
    """Haplotypes of a generated population: what the comparison with other programs is made on, smaller."""
    pytest.importorskip("msprime", reason="msprime comes with the extra `demo`")
    config = SimulationConfig(
        reference_per_population=20, targets_per_population=2, length_bases=100_000, typed_every_bases=1_500, contig="X"
    )
    files = generated_x.write_set(config, tmp_path / "set")
    # So short a stretch does not tell a woman whose haplotypes are alike from a man.
    sexes = tmp_path / "sexes.txt"
    names = sample_names(files["truth"])
    sexes.write_text("".join(f"{name} {'FM'[i % 2]}\n" for i, name in enumerate(names)))
    found = {}
    for name in generated_x.CODINGS:
        outcome = impute(
            files[name],
            "--copying-only",
            "--sex",
            str(sexes),
            panel=files["panel"],
            map=files["map"],
            out=f"{name}.vcf.gz",
        )
        assert outcome.code == 0, outcome.stderr
        assert "X: 3 men and 3 women" in outcome.stderr
        found[name] = outcome.format_columns
    assert all(columns == found["haploid"] for columns in found.values())


def test_impute__who_has_no_y_is_named_and_left_out(on_x: OnX, impute: Impute) -> None:
    def file(name: str, people: Sequence[int], prefix: str, sites: np.ndarray, absent: int | None = None) -> Path:
        lines = []
        for site in np.flatnonzero(sites).tolist():
            cells = ["." if s == absent else str(on_x.haplotypes[2 * s, site]) for s in people]
            lines.append(record(int(on_x.positions[site]), cells, contig="Y"))
        names = [f"{prefix}{i}" for i in range(len(people))]
        return write_vcf(on_x.folder / name, vcf_text(names, lines, contigs={"Y": 59_373_566}))

    everywhere = np.arange(len(on_x.positions)) >= N_PAR
    panel = file("y.vcf.gz", range(N_PANEL), "P", everywhere)
    target = file("y.vcf", range(N_PANEL, N_PANEL + N_TARGETS), "T", everywhere & on_x.typed, absent=N_PANEL + 2)
    line = refused(impute(target, panel=panel, map=None), "TARGET")
    assert "sample T2: has no call at any typed site of Y: leave it out, with --samples" in line
    men = on_x.folder / "men"
    men.write_text("".join(f"T{i}\n" for i in range(N_TARGETS) if i != 2))
    outcome = impute(target, "--samples", men, panel=panel, map=None)
    assert outcome.code == 0, outcome.stderr
    assert len(outcome.rows) == int(everywhere.sum())
    assert {cell.split(":")[0] for row in outcome.rows for cell in row[9:]} <= {"0", "1"}
