"""`vcfrag impute` on clean files: what it writes, what must not change the output, and how it goes on."""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.impute_cohort import N_SITES, N_TARGETS, Cohort, Impute, Outcome, dosage_r2, refused
from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.files.vcf.writer import ImputedWriter
from vcfrag_core.output.header import Header
from vcfrag_core.output.records import site_records
from vcfrag_core.panel.panel import Panel, alleles_at
from vcfrag_indexd.testing import serve
from vcfrag_train.calibrate.parameters import ParameterFile, write_parameters
from vcfrag_train.compare.usage import run_measured
from vcfrag_train.imputing import pipeline as impute_pipeline
from vcfrag_train.imputing.config import ImputeConfig
from vcfrag_train.reporter import Reporter

HEAVY = ("torch", "lightning", "tensorboard", "matplotlib", "jinja2", "faiss", "scipy", "pandas")


@pytest.mark.parametrize("way", [["--copying-only"], []])
def test_impute__a_process_loads_nothing_that_trains(cohort: Cohort, way: list[str]) -> None:
    words = ["impute", "--panel", cohort.panel_file, "--target", cohort.target(cohort.lines())]
    words += ["--map", cohort.map_file, "--out", cohort.folder / "out.vcf.gz", *way]
    code = (
        "import sys\nfrom vcfrag_train.cli.app import main\n"
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
    assert len(stderr.splitlines()) == 3


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


def with_the_model(outcome: Outcome) -> Path:
    """The run's cohort record, overruled: the model is used."""
    path = outcome.out.with_name(outcome.out.name.replace(".vcf.gz", ".cohort.json"))
    record = json.loads(path.read_text())
    record["contigs"][0]["model"]["used"] = True
    path.write_text(json.dumps(record))
    return path


def test_impute__leaves_out_a_model_that_does_these_targets_no_good(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    by_copying = impute(target, out="copying.vcf.gz")
    judged = impute(target, by_copying=False)
    assert "20: the model is left out: at 200 hidden typed sites of 6 targets" in judged.stderr
    assert judged.stderr.splitlines()[-1] == by_copying.stderr.splitlines()[-1] == "imputing by copying alone"
    assert judged.format_columns == by_copying.format_columns
    assert any(line.startswith("##vcfrag_model_check=<ID=20,used=no,change_of_loss=") for line in judged.header)
    assert judged.summary["contigs"]["20"]["model"]["used"] is False  # type: ignore[index, call-overload]
    record = judged.out.with_name("out.cohort.json")
    again = impute(target, by_copying=False, cohort_record=record, out="again.vcf.gz")
    assert again.format_columns == judged.format_columns
    rates = cohort.folder / "rates.toml"
    parameters = CopyingParameters(scales=(8, 32), k=8, flank_cm=2.0, switch_per_cm=2.0)
    write_parameters(ParameterFile(parameters=parameters), rates)
    given = impute(target, "--parameters", str(rates), by_copying=False, out="given.vcf.gz")
    assert "20: the model is left out: at 200 hidden typed sites of 6 targets" in given.stderr
    overruled = impute(target, by_copying=False, cohort_record=with_the_model(judged), out="overruled.vcf.gz")
    assert overruled.format_columns != judged.format_columns


@pytest.mark.parametrize("by_copying", [True, False], ids=["copying", "default model"])
def test_impute__columns_depend_neither_on_threads_nor_on_order_nor_on_company(
    cohort: Cohort, impute: Impute, by_copying: bool
) -> None:
    impute = functools.partial(impute, by_copying=by_copying)
    lines = cohort.lines()
    lines[6][9 + 1] = ".|."
    if not by_copying:
        # Left to itself the run would find that the model does these samples no good.
        record = with_the_model(impute(cohort.target(lines), out="decides.vcf.gz"))
        impute = functools.partial(impute, cohort_record=record)
    together = impute(cohort.target(lines))
    assert ("reference samples and this panel has 60: --copying-only" in together.stderr) != by_copying
    threaded = impute(cohort.target(lines), "--threads", "2", out="threads.vcf.gz")
    assert threaded.format_columns == together.format_columns
    order = [4, 1, 5, 0, 3, 2]
    names = [cohort.truth.samples[s] for s in order]
    shuffled_lines = [[*line[:9], *(line[9 + s] for s in order)] for line in lines]
    shuffled = impute(cohort.target(shuffled_lines, "shuffled.vcf.gz", names), out="shuffled-out.vcf.gz")
    decided = record if not by_copying else together.out.with_name("out.cohort.json")
    for row, other in zip(together.format_columns, shuffled.format_columns, strict=True):
        assert other == row[:6] + [row[6 + s] for s in order]
    for s in (1, 3):
        alone_lines = [[*line[:9], line[9 + s]] for line in lines]
        target = cohort.target(alone_lines, f"alone{s}.vcf.gz", [cohort.truth.samples[s]])
        alone = impute(target, cohort_record=decided, out=f"alone{s}-out.vcf.gz")
        assert alone.format_columns == [[*row[:6], row[6 + s]] for row in together.format_columns]


class BrokenOff(Reporter):
    """Interrupts the run after some sites."""

    def __init__(self, after: int) -> None:
        self.after = after

    def sites(self, done: int, total: int) -> None:
        if 0 < self.after <= done < total:
            raise KeyboardInterrupt


def config_for(cohort: Cohort, target: Path, **options: object) -> ImputeConfig:
    return ImputeConfig(
        panel=cohort.panel_file,
        targets=(target,),
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
        impute_pipeline.impute(config, BrokenOff(150))
    parts = config.out.with_name(".out.vcf.gz.parts")
    assert not config.out.exists()
    n_parts = len(list(parts.glob("*.part")))
    assert n_parts >= 1
    windows: list[int] = []
    original = impute_pipeline.Imputer.impute_windows

    def counted(self, alleles, observed, samples, todo, **more):  # type: ignore[no-untyped-def]
        windows.append(len(todo))
        return original(self, alleles, observed, samples, todo, **more)

    monkeypatch.setattr(impute_pipeline.Imputer, "impute_windows", counted)
    resumed = impute(target, "--resume", map=cohort.long_map_file)
    assert resumed.code == 0
    assert f": {n_parts} of {n_parts + windows[0]} windows are there from the run that is resumed" in resumed.stderr
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

    def interrupted(self, window, dosage, both):  # type: ignore[no-untyped-def]
        if window.number > 0:
            raise KeyboardInterrupt
        return original(self, window, dosage, both)

    monkeypatch.setattr(impute_pipeline.WindowPieces, "of", interrupted)
    outcome = impute(cohort.target(cohort.lines()), map=cohort.long_map_file)
    assert outcome.code == 130
    parts = outcome.out.with_name(".out.vcf.gz.parts")
    last = outcome.stderr.splitlines()[-1]
    assert last == f"interrupted: 1 window is written, in {parts}; the same command with --resume goes on"
    monkeypatch.undo()
    assert impute(cohort.target(cohort.lines()), "--resume", map=cohort.long_map_file).code == 0


def test_impute__another_input_is_not_taken_up(cohort: Cohort, impute: Impute) -> None:
    target = cohort.target(cohort.lines())
    config = config_for(cohort, target)
    with pytest.raises(KeyboardInterrupt):
        impute_pipeline.impute(config, BrokenOff(150))
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
    for out, message in (("o.vcf", "must end in"), ("no/o.bcf", "no folder"), ("target.vcf.gz", "is --target, too")):
        outcome = impute(target, out=out)
        assert outcome.code == 2
        assert message in outcome.stderr
    assert target.is_file()


@pytest.mark.soak
@pytest.mark.timeout(2400)
def test_impute__whole_chromosome_within_four_gib(tmp_path: Path) -> None:
    """100 targets x 170,000 sites of 2,504 panel samples, in a process of its own; `-rP` shows what it took."""
    n_sites, n_panel, n_targets = 170_000, 2_504, 100
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
    words = ["impute", "--copying-only", "--threads", "2", "--panel", tmp_path / "panel.bcf"]
    words += ["--target", tmp_path / "target.bcf", "--map", tmp_path / "map.gmap", "--out", tmp_path / "out.vcf.gz"]
    program = [sys.executable, "-c", "from vcfrag_train.cli.app import main; main()"]
    log = tmp_path / "log"
    usage = run_measured([*program, *words], log=log, environment={"VCFRAG_CACHE_DIR": str(tmp_path)})
    assert "170000 records of 100 samples" in log.read_text()
    assert usage.peak_bytes < 4 * 1024**3
    print(f"{usage.cpu_seconds:.0f} s of processor time, {usage.peak_bytes / 1e9:.2f} GB at most")


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
