"""TOML to frozen dataclasses and back: unknown keys refused, types checked, paths resolved against the file."""

from __future__ import annotations

import collections.abc
import dataclasses
import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from vcfrag_core.errors import ConfigError

T = TypeVar("T")
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: The file is not there or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def from_table(cls: type[T], table: Mapping[str, Any], *, base: Path, where: str = "") -> T:
    """An instance of the dataclass `cls` from a TOML table.

    Args:
        cls: A dataclass; fields that are dataclasses are read from sub-tables.
        table: What the file says.
        base: Folder against which relative paths are resolved; `${NAME}` and `${NAME:-otherwise}` in a path are the
            environment's.
        where: Dotted name of the table, for messages.

    Raises:
        ConfigError: An unknown key, a missing one, or a value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    names = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(names))
    if unknown:
        raise ConfigError(f"unknown key {_dotted(where, unknown[0])!r}; known here: {', '.join(names)}")
    missing = [n for n, field in names.items() if n not in table and _is_required(field)]
    if missing:
        raise ConfigError(f"key {_dotted(where, missing[0])!r} is missing")
    values = {n: _convert(hints[n], value, base, _dotted(where, n)) for n, value in table.items()}
    return cls(**values)


def to_table(config: Any) -> dict[str, Any]:
    """The nested tables of a dataclass, with paths as text and without fields that are None."""
    table: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = _plain(getattr(config, field.name))
        if value is not None:
            table[field.name] = value
    return table


def dump_toml(table: Mapping[str, Any], prefix: str = "") -> str:
    """TOML text of nested tables of numbers, strings, booleans and lists of them."""
    simple = {k: v for k, v in table.items() if not isinstance(v, Mapping)}
    lines = [f"{key} = {_toml_value(value)}" for key, value in simple.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{prefix}{key}]", dump_toml(value, f"{prefix}{key}.").strip()]
    return "\n".join(lines).strip() + "\n"


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _dotted(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _convert(kind: Any, value: Any, base: Path, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin is types.UnionType or origin is typing.Union:
        return _convert(next(k for k in typing.get_args(kind) if k is not types.NoneType), value, base, where)
    if origin is typing.Literal:
        return _one_of(typing.get_args(kind), value, where)
    if origin is tuple:
        return _tuple_of(typing.get_args(kind)[0], value, base, where)
    if origin is collections.abc.Mapping:
        return _expect(dict, value, where)
    if dataclasses.is_dataclass(kind):
        return from_table(typing.cast(type[Any], kind), _expect(dict, value, where), base=base, where=where)
    if kind is Path:
        return _path(_expect(str, value, where), base, where)
    return _scalar(kind, value, where)


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) and kind is not bool:
        raise ConfigError(f"{where} must be {kind.__name__}, got {value!r}")
    return _expect(kind, value, where)


def _one_of(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value not in choices:
        raise ConfigError(f"{where} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def _tuple_of(kind: Any, value: Any, base: Path, where: str) -> tuple[Any, ...]:
    items = _expect(list, value, where)
    return tuple(_convert(kind, item, base, f"{where}[{i}]") for i, item in enumerate(items))


def _expect(kind: type[Any], value: Any, where: str) -> Any:
    if not isinstance(value, kind):
        raise ConfigError(f"{where} must be {kind.__name__}, got {value!r}")
    return value


def _path(text: str, base: Path, where: str) -> Path:
    def value(match: re.Match[str]) -> str:
        if match["name"] in os.environ:
            # What a shell sets is meant from where the shell stands.
            return str(Path(os.environ[match["name"]]).expanduser().absolute())
        if match["default"] is None:
            raise ConfigError(f"{where}: {text!r} names the environment variable {match['name']}, which is not set")
        return match["default"]

    return (base / Path(_VARIABLE.sub(value, text)).expanduser()).resolve()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_table(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items() if v is not None}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml_value(v)}" for key, v in value.items()) + " }"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(value, (int, float)):
        return repr(value)
    raise ConfigError(f"{value!r} has no place in a TOML file")
