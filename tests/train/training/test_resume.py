"""Going on with a run: the same to the bit after kill -9, and refused against anything that differs."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vcfrag_core.errors import ConfigError, ProvenanceMismatchError, ProvenanceMissingError
from vcfrag_core.model.exported import file_digest, read_weights
from vcfrag_core.model.provenance import PROVENANCE_FILE
from vcfrag_core.settings import dump_toml
from vcfrag_train.cli.app import main
from vcfrag_train.inspect.inspection import inspect_run
from vcfrag_train.models.export import export_model
from vcfrag_train.models.trained import load_trained
from vcfrag_train.runs import checkpoints
from vcfrag_train.runs.folder import RunFolder
from vcfrag_train.runs.index_usage import IndexUsage
from vcfrag_train.training.config import config_table, run_config
from vcfrag_train.training.session import fit

Make = Callable[..., Any]


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A finished run to play with."""
    return Path(shutil.copytree(trained, tmp_path / "copied"))


@contextlib.contextmanager
def started(config: Any, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`vcfrag fit` in a process of its own, which does not outlive the block."""
    (folder / "run.toml").write_text(dump_toml(config_table(config)))
    words = ["fit", "--config", str(folder / "run.toml"), "--out", str(folder / "run")]
    program = "from vcfrag_train.cli.app import main; main()"
    command = [sys.executable, "-c", program, *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_steps(process: subprocess.Popen[bytes], run: Path, count: int) -> None:
    """Until steps.csv has so many rows and there is a checkpoint, or the process has ended."""
    while process.poll() is None:
        rows = (run / "steps.csv").read_text().count("\n") - 1 if (run / "steps.csv").exists() else 0
        if rows >= count and (run / "checkpoints" / "last").exists():
            return
        time.sleep(0.01)


def same_run(ours: Path, theirs: Path, steps_of: Make) -> bool:
    """Equal losses, batches, metric versions, index uses and weights, bit for bit."""
    weights = [read_weights(RunFolder.open(run).pointed("last"))[0] for run in (ours, theirs)]
    ledgers = [IndexUsage.read(RunFolder.open(run).pointed("last") / checkpoints.INDEX_USAGE) for run in (ours, theirs)]
    assert steps_of(ours) == steps_of(theirs)
    assert list(ledgers[0]) == list(ledgers[1])
    return all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[1])


def learning(fit_config: Make) -> Any:
    """A run whose metric moves, in the middle of epochs too."""
    return fit_config(
        epochs=3,
        metric={"refresh_windows": 4, "refresh_epochs": 0},
        model={"learn_copying": True},
        optimiser={"learning_rate": 0.01, "accumulate_batches": 2, "samples_per_visit": None, "visits_per_epoch": 3},
        trainer={"checkpoint_steps": 2},
    )


def test_resume__after_kill_9_in_the_middle_of_an_epoch(fit_config: Make, tmp_path: Path, steps_of: Make) -> None:
    config = learning(fit_config)
    undisturbed = fit(config, tmp_path / "undisturbed")
    with started(config, tmp_path) as process:
        wait_for_steps(process, tmp_path / "run", 7)
        process.kill()
        _, message = process.communicate()
    assert process.returncode == -signal.SIGKILL, message.decode()
    assert len(steps_of(tmp_path / "run")) < len(steps_of(undisturbed))
    fit(resume=tmp_path / "run")
    assert same_run(tmp_path / "run", undisturbed, steps_of)
    assert inspect_run(tmp_path / "run").trustworthy


@pytest.mark.soak
def test_resume__after_kill_9_at_random_steps_several_times(fit_config: Make, tmp_path: Path, steps_of: Make) -> None:
    config = learning(fit_config)
    undisturbed = fit(config, tmp_path / "undisturbed")
    dice = random.Random(4)
    for attempt in range(6):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with started(config, folder) as process:
            wait_for_steps(process, folder / "run", dice.randint(3, len(steps_of(undisturbed)) - 2))
            time.sleep(dice.random() * 0.05)
            process.kill()
            process.communicate()
        fit(resume=folder / "run")
        assert same_run(folder / "run", undisturbed, steps_of)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_resume__a_signal_saves_and_the_run_goes_on(
    number: signal.Signals, fit_config: Make, tmp_path: Path, steps_of: Make
) -> None:
    config = dataclasses.replace(learning(fit_config), epochs=40)
    with started(config, tmp_path) as process:
        wait_for_steps(process, tmp_path / "run", 5)
        process.send_signal(number)
        _, message = process.communicate(timeout=120)
    assert process.returncode == 128 + number, message.decode()
    assert f"stopped and saved; vcfrag fit --resume {tmp_path / 'run'} goes on" in message.decode()
    saved = checkpoints.verify(RunFolder.open(tmp_path / "run").pointed("last"))
    assert saved.step == int(steps_of(tmp_path / "run")[-1]["step"])


def test_resume__a_finished_run_has_nothing_to_do(
    copied: Path, trained: Path, steps_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    assert fit(resume=copied) == copied
    assert f"{copied} is finished, after {len(steps_of(trained))} steps: nothing is left to do" in caplog.text
    assert steps_of(copied) == steps_of(trained)


def test_resume__a_finished_run_waits_for_no_daemon(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VCFRAG_DAEMON_CONNECT_SECONDS", "0.05")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(SystemExit) as stop:
            main(["fit", "--resume", str(copied), "--daemon", address])
    assert stop.value.code in (None, 0)
    assert f"{copied} is finished, after" in caplog.text


def test_resume__without_a_checkpoint_says_how_to_begin_again(copied: Path) -> None:
    shutil.rmtree(copied / "checkpoints")
    again = f"vcfrag fit --config {copied / 'config.toml'} --out"
    with pytest.raises(ProvenanceMissingError, match=f"no checkpoint yet, .* begin again: {re.escape(again)}"):
        fit(resume=copied)


def test_resume__whose_daemon_is_gone_says_how_to_do_without(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_config(copied)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        there = dataclasses.replace(config.daemon, addresses=(f"127.0.0.1:{nobody.getsockname()[1]}",))
        table = config_table(dataclasses.replace(config, daemon=there, epochs=config.epochs + 1))
        (copied / "config.toml").write_text(dump_toml(table))
        monkeypatch.setenv("VCFRAG_DAEMON_CONNECT_SECONDS", "0.05")
        with pytest.raises(SystemExit):
            main(["fit", "--resume", str(copied)])
    assert "--daemon embedded" in capsys.readouterr().err


DIFFERENT = {
    "masks": {"masks": {"levels": (0.4,)}},
    "validation_masks": {"masks": {"validation_seed": 5}},
    "split": {"split": {"seed": 9}},
    "windows": {"windows": {"sites": 50}},
    "metric": {"metric": {"refresh_epochs": 2}},
    "model": {"model": {"width": 32}},
    "optimiser": {"optimiser": {"learning_rate": 0.1}},
}


@pytest.mark.parametrize("field", DIFFERENT)
def test_resume__against_another_setting_is_refused(copied: Path, fit_config: Make, field: str) -> None:
    with pytest.raises(ProvenanceMismatchError, match=f"the {field} differs?"):
        fit(fit_config(**DIFFERENT[field]), resume=copied)


def test_resume__against_another_seed_is_refused(copied: Path, fit_config: Make) -> None:
    with pytest.raises(ProvenanceMismatchError, match=r"the masks differ \(seed too\)"):
        fit(fit_config(seed=4), resume=copied)


def test_resume__against_another_retrieval_is_refused(copied: Path, fit_config: Make) -> None:
    config = fit_config()
    other = dataclasses.replace(config, retrieval=dataclasses.replace(config.retrieval, k=3))
    with pytest.raises(ProvenanceMismatchError, match="the retrieval differs"):
        fit(other, resume=copied)


def test_resume__against_another_map_is_refused(copied: Path, fit_config: Make, fit_files: Any, tmp_path: Path) -> None:
    other = tmp_path / "map.txt"
    other.write_text(fit_files.map.read_text().replace("6.0", "6.1"))
    with pytest.raises(ProvenanceMismatchError, match="the map differs"):
        fit(fit_config(panel={"map": other}), resume=copied)


def test_resume__against_another_panel_is_refused(copied: Path, fit_config: Make, coin_flips: Any) -> None:
    with pytest.raises(ProvenanceMismatchError, match="the panel differs"):
        fit(fit_config(coin_flips), resume=copied)


def test_resume__accepting_a_field_goes_on_and_is_recorded(copied: Path, fit_config: Make, steps_of: Make) -> None:
    longer = fit_config(masks={"levels": (0.4,)}, epochs=3)
    fit(longer, resume=copied, accept=["masks", "optimiser"])
    assert len(steps_of(copied)) == 36
    found = inspect_run(copied)
    assert {item.field for item in found.provenance.accepted} == {"masks", "optimiser"}
    assert "accepted by hand: masks, optimiser" in found.verdict()
    assert found.trustworthy, found.verdict()
    assert {item["field"] for item in RunFolder.open(copied).record()["accepted"]} == {"masks", "optimiser"}


def test_resume__accepting_what_is_no_field_is_refused(copied: Path) -> None:
    with pytest.raises(ConfigError, match="'everything' is not a field"):
        fit(resume=copied, accept=["everything"])


def test_resume__a_checkpoint_without_provenance_is_refused(copied: Path) -> None:
    (RunFolder.open(copied).pointed("last") / "provenance.json").unlink()
    with pytest.raises(ProvenanceMissingError, match=r"provenance\.json"):
        fit(resume=copied)


def test_resume__an_edited_metric_is_refused(copied: Path) -> None:
    last = RunFolder.open(copied).pointed("last")
    data = bytearray((last / checkpoints.METRIC).read_bytes())
    data[-3] ^= 1
    (last / checkpoints.METRIC).write_bytes(bytes(data))
    with pytest.raises(ProvenanceMismatchError, match="metric"):
        fit(resume=copied)


def test_resume__a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProvenanceMissingError):
        fit(resume=tmp_path)


def test_load_trained__the_model_that_was_saved(trained: Path) -> None:
    loaded = load_trained(trained, found={"panel": RunFolder.open(trained).record()["fields"]["panel"]})
    weights, _ = read_weights(loaded.folder)
    assert loaded.tensors.keys() == weights.keys()
    assert all(np.array_equal(value, weights[name]) for name, value in loaded.tensors.items())


def test_load_trained__another_panel_is_refused_unless_accepted(trained: Path) -> None:
    with pytest.raises(ProvenanceMismatchError, match="the panel differs"):
        load_trained(trained, found={"panel": "another"})
    assert [item.field for item in load_trained(trained, found={"panel": "another"}, accept=["panel"]).accepted] == [
        "panel"
    ]


def test_load_trained__inputs_of_another_meaning_are_refused(copied: Path) -> None:
    path = RunFolder.open(copied).checkpoint() / PROVENANCE_FILE
    record = json.loads(path.read_text())
    record["fields"]["inputs"] = "those of another version"
    path.write_text(json.dumps(record))
    with pytest.raises(ProvenanceMismatchError, match="the inputs differ:"):
        load_trained(copied)


def test_load_trained__weights_alone_are_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copy(RunFolder.open(trained).checkpoint() / checkpoints.WEIGHTS, tmp_path / checkpoints.WEIGHTS)
    with pytest.raises(ProvenanceMissingError):
        load_trained(tmp_path)


def test_inspect__validation_samples_in_the_training_reference_are_found(copied: Path) -> None:
    splits = json.loads((copied / "splits.json").read_text())
    judge = splits["validation_samples"][0]
    splits["train"]["held_out"].remove(judge)
    splits["train"]["reference"].append(judge)
    (copied / "splits.json").write_text(json.dumps(splits))
    found = inspect_run(copied)
    assert not found.trustworthy
    assert any(judge in leak for leak in found.leaks)
    assert "absent from every training index and batch: NO" in found.verdict()


def test_inspect__a_validation_sample_in_a_training_batch_is_found(copied: Path) -> None:
    last = RunFolder.open(copied).pointed("last")
    index_usage = IndexUsage.read(last / checkpoints.INDEX_USAGE)
    judge = RunFolder.open(copied).splits()[""].validation_samples[0]
    use = next(iter(index_usage))
    index_usage.add("train", use.identity, use.mask, metric_version=0, step=1, samples=[judge])
    rewrite_index_usage(last, index_usage)
    assert any("training batches" in leak for leak in inspect_run(copied).leaks)


def test_inspect__a_wrong_mask_is_found(copied: Path) -> None:
    last = RunFolder.open(copied).pointed("last")
    index_usage = IndexUsage.read(last / checkpoints.INDEX_USAGE)
    first, second = list(index_usage)[:2]
    first.identity = dataclasses.replace(first.identity, mask=second.identity.mask)
    rewrite_index_usage(last, index_usage)
    found = inspect_run(copied)
    assert "every mask the right one: NO" in found.verdict()
    assert second.identity.mask in found.masks[0]


def test_inspect__without_the_panel_says_so(copied: Path) -> None:
    path = copied / "config.toml"
    path.write_text(path.read_text().replace("panel.vcf.gz", "gone.vcf.gz"))
    assert "the panel is not at hand" in inspect_run(copied).verdict()


def test_inspect__another_panel_in_the_file_is_told_and_no_mask_blamed(copied: Path, tmp_path: Path) -> None:
    path = copied / "config.toml"
    panel = Path(re.findall(r'"(\S+panel\.vcf\.gz)"', path.read_text())[0])
    other = tmp_path / "other.vcf.gz"
    text = gzip.decompress((copied / panel).read_bytes()).decode()
    other.write_bytes(gzip.compress(text.replace("0|1", "1|0", 1).encode()))
    path.write_text(path.read_text().replace(str(panel), str(other)))
    found = inspect_run(copied)
    assert not found.masks
    assert "by the record; they cannot be drawn again: " in found.verdict()
    assert f"{other} holds panel" in found.verdict()


def test_inspect__of_an_exported_model_prints_its_record(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "exported"
    export_model(copied, out)
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(out)])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "exported model    exported (" in said
    assert "\npanel             " in said
    assert "tells of the run that it was exported from" in said
    (out / "scores.json").write_text("{}")
    with pytest.raises(SystemExit):
        main(["inspect", str(out)])
    assert "is not the file that the record speaks of" in capsys.readouterr().err


def rewrite_index_usage(folder: Path, index_usage: IndexUsage) -> None:
    """Puts a record of index usage in place with the digest that goes with it, as somebody would who covers up."""
    index_usage.write(folder / checkpoints.INDEX_USAGE)
    record = json.loads((folder / "provenance.json").read_text())
    record["files"][checkpoints.INDEX_USAGE] = file_digest(folder / checkpoints.INDEX_USAGE)
    (folder / "provenance.json").write_text(json.dumps(record))
