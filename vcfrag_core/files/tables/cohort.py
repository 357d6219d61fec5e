"""The cohort record as a JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.errors import ConfigError, InputError, RangeError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.settings import from_table, to_table
from vcfrag_core.targets.cohort import CohortRecord, ContigDecisions, Verdict, decode_sites, encode_sites
from vcfrag_core.targets.records import Reason

KIND: Final = "vcfrag cohort record 1"
_KEYS: Final = ("kind", "version", "qc", "contigs")
_CONTIG_KEYS: Final = (
    "contig", "panel", "map", "parameters", "rates", "model", "target_reference", "tested", "people",
    "verdicts", "typed",
)  # fmt: skip


def write_cohort(record: CohortRecord, path: str | Path) -> None:
    """Writes the record, whole or not at all."""
    named = {"qc": record.qc} if record.qc else {}
    contigs = [_contig(decided) for decided in record.contigs]
    content = {"kind": KIND, "version": record.version, **named, "contigs": contigs}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_cohort(path: str | Path) -> CohortRecord:
    """The record of a file.

    Raises:
        InputError: No such file, or it holds something else, or part of it.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except ValueError as error:
        raise InputError(f"not a cohort record: {error}", path=path) from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise InputError(f"not a cohort record: its `kind` must be {KIND!r}; `impute` writes one beside its output",
                         path=path)  # fmt: skip
    try:
        _refuse_others(content, _KEYS, "the record")
        return CohortRecord(
            version=_text(content, "version"),
            contigs=tuple(_decisions(entry) for entry in content["contigs"]),
            qc=str(content.get("qc", "")),
        )
    except (KeyError, TypeError, ValueError, ConfigError, RangeError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"not a cohort record: {what}", path=path) from error


def _contig(decided: ContigDecisions) -> dict[str, Any]:
    return {
        "contig": decided.contig,
        "panel": decided.panel,
        "map": decided.genetic_map,
        "parameters": to_table(decided.parameters),
        "rates": dict(decided.rates),
        "model": dict(decided.model),
        "target_reference": dict(decided.target_reference),
        "tested": list(decided.tested),
        "people": {sample: list(others) for sample, others in decided.people.items()},
        "verdicts": [[v.contig, v.position, v.ref, v.alt, v.reason.value] for v in decided.verdicts],
        "typed": encode_sites(decided.typed),
    }


def _decisions(entry: Any) -> ContigDecisions:
    if not isinstance(entry, dict):
        raise ConfigError(f"contigs must be tables, got {entry!r}")
    _refuse_others(entry, _CONTIG_KEYS, f"contig {entry.get('contig')!r}")
    return ContigDecisions(
        contig=_text(entry, "contig"),
        panel=_text(entry, "panel"),
        genetic_map=_text(entry, "map"),
        parameters=from_table(CopyingParameters, entry["parameters"], base=Path(), where="parameters"),
        typed=decode_sites(_text(entry, "typed")),
        verdicts=tuple(
            Verdict(str(contig), int(position), str(ref).upper(), str(alt).upper(), Reason(reason))
            for contig, position, ref, alt, reason in entry["verdicts"]
        ),
        people={sample: _names(others, "people") for sample, others in _table(entry, "people").items()},
        rates=_table(entry, "rates"),
        model=_model(entry["model"]),
        target_reference=_target_reference(entry["target_reference"]),
        tested=_names(entry["tested"], "tested"),
    )


def _model(table: Any) -> dict[str, object]:
    if not isinstance(table, dict) or (table and not isinstance(table.get("used"), bool)):
        raise ConfigError(f"model must say under `used` true or false, got {table!r}")
    if not isinstance(table.get("trusted", False), bool):
        raise ConfigError(f"model must say under `trusted` true or false, got {table!r}")
    factor = table.get("length_factor", 1.0)
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not 0 < factor < math.inf:
        raise ConfigError(f"model must say under `length_factor` a positive number, got {table!r}")
    share = table.get("share", 1.0)
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share <= 1:
        raise ConfigError(f"model must say under `share` a number above 0, at most 1, got {table!r}")
    return dict(table)


def _target_reference(table: Any) -> dict[str, object]:
    if not isinstance(table, dict) or (table and not isinstance(table.get("digest"), str)):
        raise ConfigError(f"target_reference must name a digest, got {table!r}")
    return dict(table)


def _refuse_others(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(known)}")


def _table(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(entry[key], dict):
        raise ConfigError(f"{key} must be a table, got {entry[key]!r}")
    return dict(entry[key])


def _names(given: Any, key: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ConfigError(f"{key} must be lists of names, got {given!r}")
    return tuple(given)


def _text(table: Mapping[str, Any], key: str) -> str:
    if not isinstance(table[key], str):
        raise ConfigError(f"{key} must be text, got {table[key]!r}")
    return str(table[key])
