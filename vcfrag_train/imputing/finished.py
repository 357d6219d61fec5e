"""What a finished run leaves in its QC summary, so that the same command with `--resume` imputes nothing anew."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vcfrag_core.errors import ConfigError, ProvenanceMismatchError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.names import PLACE
from vcfrag_core.files.outputs import companions
from vcfrag_core.files.tables.names import beside_record, summary_path
from vcfrag_core.hashing import text_digest

if TYPE_CHECKING:
    # Whoever only marks a run as finished needs none of what a run is.
    from vcfrag_train.imputing.config import ImputeConfig

_KEY: Final = "finished"
# Inputs that a refusal names.
_NAMED: Final = 4
_HOW: Final = ("--jobs", "--threads", "--memory", "--cluster", "--report", "--scratch", "--daemon")
# How a command says where decisions are kept and what is written.
_FORM: Final = ("--manifest", "--out", "--qc", "--format", "--bgen", "--bgen-bits", "--pgen", "--min-r2")
_TABLES: Final = {".pgen": (".pvar", ".pvar.zst", ".psam"), ".bed": (".bim", ".fam")}
# Bytes of a file, and when its content and anything of it changed, in nanoseconds.
State = tuple[int, int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """A run that has ended: its outputs with their numbers of records, its samples, and the report it wrote."""

    outputs: tuple[tuple[Path, int], ...]
    n_samples: int
    report: Path | None


def input_states(config: ImputeConfig, panels: Sequence[Path] = (), maps: Sequence[Path] = ()) -> dict[str, State]:
    """The files that a run reads, by their whole names, and how each of them is now.

    A file is another, too, where it was put in the other's place with that one's time of change.

    Args:
        config: The run.
        panels: Files of the panel, where it is several.
        maps: Files of the genetic map, where it is several.

    Raises:
        InputError: There is no such target.
    """
    # `merge` reads no targets, and marks its output as finished.
    from vcfrag_core.files.targets import target_file

    targets = [target_file(path) for path in config.targets]
    tables = [path.with_suffix(end) for path in targets for end in _TABLES.get(path.suffix, ())]
    served = None if config.cohort is None else beside_record(config.cohort)
    chosen = (config.map, config.sex, config.samples, config.cohort, served, config.sites, config.parameters_file)
    files = [config.panel, *panels, *maps, *targets, *tables, *(path for path in chosen if isinstance(path, Path))]
    found = {str(path.absolute()): path.stat() for path in files if path.is_file()}
    return {name: (of.st_size, of.st_mtime_ns, of.st_ctime_ns) for name, of in found.items()}


def what_is_done(command: str) -> list[str]:
    """The words of a command that say what is done, not how it is run."""
    words = [part for word in shlex.split(command) for part in word.split("=", 1)]
    return [word for word in _without(words, _HOW) if word != "--resume"]


def _without(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """The words but for some options and what follows them."""
    return [word for word, before in zip(words, ["", *words], strict=False) if not {word, before} & {*options}]


def mark_finished(
    table: Path,
    command: str,
    outputs: Sequence[tuple[Path, int]],
    n_samples: int,
    inputs: Mapping[str, State],
    *,
    record: Path | None = None,
    report: Path | None = None,
) -> None:
    """Adds what was written to the QC summary.

    Args:
        table: The QC table, beside which the summary lies.
        command: The command line of the run.
        outputs: Outputs that are whole, and their numbers of records.
        n_samples: Samples in them.
        inputs: How its inputs were when they were read.
        record: The cohort record that it wrote, where it wrote one.
        report: The report that was written of it.
    """
    beside = [file for path, _ in outputs for file in companions(path)]
    beside += [] if record is None else [record, beside_record(record)]
    content = _content(summary_path(table))
    content[_KEY] = {
        "command": what_is_done(command),
        "folder": _folder(),
        "beside": sorted(str(file) for file in beside if file.is_file()),
        "samples": n_samples,
        "inputs": inputs,
        "report": None if report is None else str(report.absolute()),
        "outputs": [
            {"file": str(p), "at": str(p.absolute()), "bytes": p.stat().st_size, "records": n} for p, n in outputs
        ],
    }
    with atomic_path(summary_path(table)) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def refuse_tables_of_another(config: ImputeConfig, inputs: Mapping[str, State]) -> None:
    """Refuses to write QC and decisions over others, of an output that is there, whose name differs in its suffix.

    The same data in several formats have the same.

    Args:
        config: The run.
        inputs: Its inputs now, as `input_states` has them.

    Raises:
        ConfigError: Names the output.
    """
    _refuse_output_of_another(config, inputs, config.qc_table, f"{config.qc_table} and what was decided")
    record = config.cohort_record
    if config.cohort is None and record.is_file():
        # A run with a QC table of its own shares the record alone.
        _refuse_output_of_another(config, inputs, _table_of_record(config), f"{record}, what was decided")


def refuse_finished_of_another(config: ImputeConfig, inputs: Mapping[str, State]) -> None:
    """Refuses to resume where the output is that of another run, which has ended.

    Args:
        config: The run.
        inputs: Its inputs now, as `input_states` has them.

    Raises:
        ProvenanceMismatchError: Names the output, and the options or inputs that differ.
    """
    own = str(config.out.absolute()).replace(PLACE, "*")
    for table in dict.fromkeys((config.qc_table, _table_of_record(config))):
        mark = _content(summary_path(table)).get(_KEY)
        if not isinstance(mark, Mapping):
            continue
        there = [path for path in _outputs_of(mark) if path.is_file() and fnmatch.fnmatchcase(str(path), own)]
        differs = _differences(mark, config.command, inputs)
        if there and differs:
            raise ProvenanceMismatchError(
                f"--resume: {there[0]} is what another run wrote, which has ended: {differs}; remove it, give another"
                " --out, or run without --resume to replace it"
            )


def _differences(mark: Mapping[str, Any], command: str, inputs: Mapping[str, State]) -> str:
    """What a run that has ended and this one do not have in common, in words; empty if nothing."""
    made, now = (Counter(_options(words)) for words in (mark.get("command") or (), what_is_done(command)))
    others = [f"it had {' '.join((made - now).elements())}"] if made - now else []
    others += [f"this one has {' '.join((now - made).elements())}"] if now - made else []
    if others:
        return ", ".join(others)
    read = mark.get("inputs")
    states = {str(name): tuple(state) for name, state in read.items()} if isinstance(read, Mapping) else {}
    changed = sorted(name for name in {*states, *inputs} if states.get(name) != inputs.get(name))
    more = " and others" * (len(changed) > _NAMED)
    return f"{', '.join(changed[:_NAMED])}{more}: not the file that it read" if changed else ""


def _options(words: Sequence[str]) -> list[str]:
    """The words of a command, those that follow an option joined to it."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].startswith("--") and not word.startswith("--"):
            joined[-1] += f" {shlex.quote(word)}"
        else:
            joined.append(word)
    return joined


def _table_of_record(config: ImputeConfig) -> Path:
    """The QC table of the run that wrote the cohort record lying where this one's would."""
    record = config.cohort_record
    named = _content(record).get("qc")
    return record.parent / named if isinstance(named, str) else config.usual_qc_table


def _outputs_of(mark: Mapping[str, Any]) -> list[Path]:
    """The outputs of a finished run, by their whole names."""
    outputs = mark.get("outputs")
    return [Path(str(one.get("at"))) for one in outputs or () if isinstance(one, Mapping)]


def _refuse_output_of_another(config: ImputeConfig, inputs: Mapping[str, State], table: Path, lost: str) -> None:
    """Refuses where another output is there that the QC table `table` tells of."""
    mark = _content(summary_path(table)).get(_KEY)
    if not isinstance(mark, Mapping) or _decided_by(mark) in (
        (_of_decisions(config.command), dict(inputs)),
        _as_recorded(config, inputs),
    ):
        return
    own = str(config.out.absolute()).replace(PLACE, "*")
    for path in _outputs_of(mark):
        if path.is_file() and not fnmatch.fnmatchcase(str(path), own):
            raise ConfigError(
                f"--out {config.out}: {lost} for {path} would be overwritten; give --out another name before its"
                f" suffix, or another folder, or remove {path.name}"
            )


def _decided_by(mark: Mapping[str, Any]) -> tuple[list[str], dict[str, State]] | None:
    """The words and inputs that the tables of a finished run follow from; None where the mark does not tell."""
    try:
        inputs = {str(name): (int(size), int(at), int(of)) for name, (size, at, of) in mark["inputs"].items()}
        return _of_decisions(shlex.join(map(str, mark["command"]))), inputs
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _as_recorded(config: ImputeConfig, inputs: Mapping[str, State]) -> tuple[list[str], dict[str, State]] | None:
    """As `_decided_by`, of the run that made the cohort record lying where this one's would; None without it.

    It applies what was decided for the very data that it is given again.
    """
    cohort, record = config.cohort, config.cohort_record
    if cohort is None or not record.is_file() or not cohort.samefile(record):
        return None
    given = {str(path.absolute()) for path in (cohort, beside_record(cohort))}
    words = _without(_of_decisions(config.command), ["--cohort"])
    return words, {name: state for name, state in inputs.items() if name not in given}


def _of_decisions(command: str) -> list[str]:
    """The words of a command, or of what is left of it, that decisions follow from, and not how they are written."""
    return _without(what_is_done(command), _FORM)[2:]


def find_finished(table: Path, command: str, inputs: Mapping[str, State]) -> Finished | None:
    """What the same command has written before, if all of it is there as it was and its inputs are as they were read.

    It is the same where its relative names mean the same files.

    Args:
        table: The QC table.
        command: The command line.
        inputs: Its inputs now, as `input_states` has them.
    """
    mark = _content(summary_path(table)).get(_KEY)
    if not isinstance(mark, Mapping):
        return None
    if mark.get("command") != what_is_done(command) or mark.get("folder") != _folder():
        return None
    try:
        outputs = tuple((Path(str(one["file"])), int(one["records"])) for one in mark["outputs"])
        sizes = [int(one["bytes"]) for one in mark["outputs"]]
        there = [path.stat() for path, _ in outputs]
        read = {str(name): tuple(state) for name, state in mark["inputs"].items()}
        report = None if mark["report"] is None else Path(str(mark["report"]))
        beside = [Path(str(file)).is_file() for file in mark["beside"]]
        n_samples = int(mark["samples"])
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return None
    if not there or not all(beside) or [status.st_size for status in there] != sizes:
        return None
    return Finished(outputs, n_samples, report) if read == inputs else None


def _folder() -> str:
    """What relative names of a command follow from."""
    return text_digest("folder", str(Path.cwd()))


def _content(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
