"""Outputs of every command: never an input, never another output, told before any work where they cannot be written."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import sys
import typing
from pathlib import Path
from typing import Annotated

import pytest
import typer

import vcfrag_core
from vcfrag_core.errors import ConfigError, OutputError
from vcfrag_train.cli import app as cli
from vcfrag_train.cli.outputs import OUTPUT, OUTPUT_FOLDER, check_outputs, guarded


def test_guarded__an_output_that_is_an_input_is_refused_by_whatever_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Path] = []

    @guarded
    def command(
        target: list[Path], out: Annotated[Path, OUTPUT], imputed: list[str], qc: Annotated[Path | None, OUTPUT] = None
    ) -> None:
        ran.append(out)

    monkeypatch.chdir(tmp_path)
    target = tmp_path / "in.vcf"
    target.write_text("x")
    os.link(target, tmp_path / "hard.vcf")
    (tmp_path / "soft.vcf").symlink_to(target)
    for name in ("in.vcf", "hard.vcf", "soft.vcf", str(target), f"../{tmp_path.name}/in.vcf"):
        with pytest.raises(ConfigError, match="is --target, too"):
            command(target=[tmp_path / "other", target], out=Path(name), imputed=[])
        with pytest.raises(ConfigError, match=r"--qc .* is --imputed, too"):
            command(target=[], out=Path("o"), imputed=["NAME=in.vcf"], qc=Path(name))
    with pytest.raises(ConfigError, match=r"--qc new is --out, too"):
        command(target=[], out=Path("new"), imputed=[], qc=Path("./new"))
    for name in ("in.vcf.tbi", "in.vcf.csi"):
        with pytest.raises(ConfigError, match="is --target, too"):
            command(target=[target], out=Path(name), imputed=[])
    for name in ("set.bim", "set.fam", "set.bed"):
        with pytest.raises(ConfigError, match="is --target, too"):
            command(target=[Path("set.bed")], out=Path(name), imputed=[])
        with pytest.raises(ConfigError, match="is --target, too"):
            command(target=[Path("set")], out=Path(name), imputed=[])
    (tmp_path / "cohort.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"the summary of --qc .*cohort\.json is --imputed, too"):
        command(target=[], out=Path("o"), imputed=["cohort.json"], qc=Path("cohort.tsv"))
    assert not ran
    command(target=[target], out=Path("new"), imputed=["NAME=in.vcf"], qc=None)
    assert ran == [Path("new")]
    assert target.read_text() == "x"


@pytest.mark.parametrize("name", sorted(set(cli.COMMANDS) - {"compile", "inspect", "merge", "run-chunk"}))
def test_commands__each_marks_its_outputs(name: str) -> None:
    loaded = cli._load(name)
    functions = [c.callback for c in loaded.registered_commands] if isinstance(loaded, typer.Typer) else [loaded]
    hints = [typing.get_type_hints(f, include_extras=True).values() for f in functions if f is not None]
    assert {OUTPUT, OUTPUT_FOLDER} & {mark for hint in itertools.chain(*hints) for mark in typing.get_args(hint)[1:]}


def test_check_outputs__tells_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a folder; name a file in it"):
        check_outputs({"--out": (tmp_path, OUTPUT)}, {})
    with pytest.raises(OutputError, match="is a file; name a folder"):
        check_outputs({"--out": (tmp_path / "file", OUTPUT_FOLDER)}, {})
    with pytest.raises(OutputError, match="--qc /dev/null is a device or a pipe"):
        check_outputs({"--qc": (Path("/dev/null"), OUTPUT)}, {})
    with pytest.raises(OutputError, match="is a file, no folder"):
        check_outputs({"--out": (tmp_path / "file" / "deeper" / "x.bcf", OUTPUT)}, {})
    check_outputs({"--out": (tmp_path / "new" / "deeper" / "x.bcf", OUTPUT), "--keep": (tmp_path, OUTPUT_FOLDER)}, {})


def test_check_outputs__tells_of_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):  # root may write everywhere but on a read-only disk
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked)
    with pytest.raises(OutputError, match=r"the folder .*locked cannot be written"):
        check_outputs({"--out": (locked / "x.bcf", OUTPUT)}, {})


@pytest.mark.parametrize("command", ["impute", "phase"])
def test_commands__a_table_named_as_an_input_leaves_the_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    target = tmp_path / "array.vcf"
    target.write_text("kept")
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--panel", "p.bcf", "--target", str(target), "--out", "o.bcf", "--qc", str(target)])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"error [CONFIG]: --qc {target} is --target, too")
    assert target.read_text() == "kept"


def test_impute__goes_on_where_standard_error_is_closed(tmp_path: Path) -> None:
    folder, out = vcfrag_core.example(), tmp_path / "imputed.vcf.gz"
    files = {"panel": folder / "panel.vcf.gz", "target": folder / "array.vcf.gz", "map": folder / "map.txt", "out": out}
    words = [sys.executable, "-c", "from vcfrag_train.cli.app import main; main()", "impute", "--copying-only"]
    words += [word for name, path in files.items() for word in (f"--{name}", str(path))]
    done = subprocess.run(["sh", "-c", f"{shlex.join(words)} 2>&-"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert out.stat().st_size > 1000


def test_impute__an_output_that_is_an_input_is_named_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("panel.bcf", "target.vcf.gz"):
        (tmp_path / name).touch()
        (tmp_path / f"{name}.csi").touch()
    words = ["impute", "--panel", tmp_path / "panel.bcf", "--target", tmp_path / "target.vcf.gz"]
    for name, option in (("panel.bcf", "--panel"), ("target.vcf.gz", "--target")):
        with pytest.raises(SystemExit):
            cli.main([str(word) for word in (*words, "--out", tmp_path / name)])
        assert f"--out {tmp_path / name} is {option}, too" in capsys.readouterr().err


def test_impute__an_index_of_the_output_is_an_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("panel.vcf.gz", "target.vcf.gz"):
        (tmp_path / name).touch()
    words = ["impute", "--panel", tmp_path / "panel.vcf.gz", "--target", tmp_path / "target.vcf.gz"]
    for out, qc in (("o.bcf", "o.bcf.csi"), ("o.vcf.gz", "o.vcf.gz.tbi"), ("o.pgen", "o.pvar"), ("o.bgen", "o.sample")):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(word) for word in (*words, "--out", tmp_path / out, "--qc", tmp_path / qc)])
        assert stop.value.code == 2
        assert "which it would overwrite" in capsys.readouterr().err


def test_impute__a_folder_as_a_file_is_no_fault_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for option in ("--panel", "--map", "--qc", "--sex"):
        words = ["impute", "--panel", "p.bcf", "--target", "t.bcf", "--out", "o.bcf", option, "."]
        with pytest.raises(SystemExit):
            cli.main(words)
        assert "INTERNAL" not in capsys.readouterr().err


@pytest.mark.parametrize("panel", ["{contig}.bcf", "folder", "each"])
def test_impute__an_output_for_each_contig_is_no_input(
    tmp_path: Path, panel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("20.bcf", "21.bcf"):
        (tmp_path / name).write_text("kept")
    (tmp_path / "target.vcf.gz").touch()
    given = {"folder": [tmp_path], "each": [tmp_path / "20.bcf", tmp_path / "21.bcf"]}.get(panel, [tmp_path / panel])
    words = [word for path in given for word in ("--panel", str(path))]
    for out, target in (("{contig}.bcf", "target.vcf.gz"), ("{contig}.bcf", "21.bcf")):
        with pytest.raises(SystemExit):
            cli.main(["impute", *words, "--target", str(tmp_path / target), "--out", str(tmp_path / out)])
        assert "too, which it would overwrite" in capsys.readouterr().err
    assert (tmp_path / "20.bcf").read_text() == (tmp_path / "21.bcf").read_text() == "kept"


@pytest.mark.parametrize(
    ("option", "word"),
    [("--panel", "."), ("--panel", "p.{contig}.bcf"), ("--truth", "p.{contig}.bcf"), ("--imputed", "a=p.{contig}.bcf")],
)
def test_evaluate__an_output_is_none_of_a_contigs_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.21.bcf").write_text("kept")
    given = {"--panel": "x", "--truth": "y", "--imputed": "z", "--typed": "t", option: word}
    with pytest.raises(SystemExit):
        cli.main(["evaluate", *(part for pair in given.items() for part in pair), "--tsv", "p.21.bcf"])
    assert f"--tsv p.21.bcf is {option}, too" in capsys.readouterr().err
    assert Path("p.21.bcf").read_text() == "kept"
