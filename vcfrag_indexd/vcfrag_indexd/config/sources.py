"""Settings from a TOML file, then the environment, then flags; unknown keys are refused."""

from __future__ import annotations

import dataclasses
import os
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vcfrag_core.errors import ConfigError
from vcfrag_indexd.config.config import ServeConfig

PREFIX = "VCFRAG_INDEXD_"


def load_config(
    file: Path | None = None,
    *,
    panels: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> ServeConfig:
    """The configuration in force.

    Args:
        file: TOML with the fields of ServeConfig; tables for its parts (`[limits]`) and for `[panels]`.
        panels: NAME=FILE flags; they are added to the file's.
        flags: Values by dotted name (`engine.threads`); None stands for a flag that was not given.
        environment: Instead of `os.environ`; `VCFRAG_INDEXD_ENGINE__THREADS` sets `engine.threads`.

    Raises:
        ConfigError: An unknown key, a value of the wrong type, or one that makes no sense.
    """
    values = _from_file(file) if file is not None else {}
    _refuse_unknown(ServeConfig, values, str(file))
    for variable, text in sorted((os.environ if environment is None else environment).items()):
        if variable.startswith(PREFIX):
            one: dict[str, Any] = {}
            name = variable.removeprefix(PREFIX).lower().replace("__", ".")
            _put(one, name, text)
            _refuse_unknown(ServeConfig, one, variable)
            _put(values, name, text)
    for name, value in (flags or {}).items():
        if value is not None:
            _put(values, name, value)
    for name, path in _named_files(panels).items():
        _put(values, f"panels.{name}", path)
    config: ServeConfig = _build(ServeConfig, values, "")
    return config


def as_toml(config: ServeConfig) -> str:
    """The configuration as a TOML file that gives it again; settings that are not set are left out."""
    lines: list[str] = []
    tables: list[tuple[str, Mapping[str, Any]]] = []
    for name, value in _fields(config).items():
        if isinstance(value, Mapping):
            tables.append((name, value))
        elif dataclasses.is_dataclass(value):
            tables.append((name, _fields(value)))
        elif value is not None:
            lines.append(f"{name} = {_literal(value)}")
    for name, table in tables:
        lines += ["", f"[{name}]"]
        lines += [f"{_key(key)} = {_literal(value)}" for key, value in table.items() if value is not None]
    return "\n".join(lines).strip() + "\n"


def _from_file(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML in UTF-8: {error}") from error


def _named_files(panels: Sequence[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    for item in panels:
        name, equals, path = item.partition("=")
        if not equals or not name or not path:
            raise ConfigError(f"--panel must be NAME=FILE, got {item!r}")
        if name in files:
            raise ConfigError(f"--panel {name} is given twice, as {files[name]} and as {path}: name each differently")
        files[name] = path
    return files


def _refuse_unknown(kind: Any, values: Mapping[str, Any], source: str, where: str = "") -> None:
    hints = typing.get_type_hints(kind)
    for name, value in values.items():
        if name not in hints:
            known = ", ".join(sorted(hints))
            raise ConfigError(f"{source}: unknown setting {where}{name}; known are {known}")
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping):
            _refuse_unknown(hints[name], value, source, f"{where}{name}.")


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    *tables, last = name.split(".", 1)
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{table} is a setting, not a table of settings")
    values[last] = value


def _build(kind: Any, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{where.rstrip('.')} must be a table of settings, got {values!r}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _value(hints[name], value, where + name) for name, value in values.items()})


def _value(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, f"{name}.")
    if typing.get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{name} must be a table, got {value!r}")
        return {key: Path(_value(str, path, f"{name}.{key}")) for key, path in value.items()}
    if typing.get_origin(hint) is tuple:
        items = [item for item in value.split(",") if item] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise ConfigError(f"{name} must be a list, got {value!r}")
        return tuple(_scalar(typing.get_args(hint)[0], item, name) for item in items)
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return _scalar(hint, value, name)


def _scalar(kind: type, value: Any, name: str) -> Any:
    if isinstance(value, str) and kind is not str:
        value = _from_text(kind, value, name)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{name} must be of type {kind.__name__}, got {value!r}")
    return value


def _from_text(kind: type, text: str, name: str) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{name} must be true or false, got {text!r}")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError as error:
        raise ConfigError(f"{name} must be of type {kind.__name__}, got {text!r}") from error


def _fields(config: Any) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_literal, value))}]"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _literal(name)
