"""The documents say what is true: links lead somewhere, commands exist with the options that are written there."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from vcfrag_indexd.config.config import ServeConfig
from vcfrag_train.cli import app as cli
from vcfrag_train.training.config import load_config

PAGES = ("README.md", "CONTRIBUTING.md", "vcfrag_indexd/README.md", "proto/README.md", "docs")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
MAKE_TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def pages(repository: Path) -> Iterator[Path]:
    for name in PAGES:
        path = repository / name
        yield from sorted(path.rglob("*.md")) if path.is_dir() else [path]


def test_links__lead_to_files(repository: Path) -> None:
    broken = [
        f"{page.relative_to(repository)} -> {target}"
        for page in pages(repository)
        for target in LINK.findall(page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken


def test_pages__point_to_nothing_outside_the_repository(repository: Path) -> None:
    for page in pages(repository):
        text = page.read_text().replace("`../shared/data`", "")
        assert "../shared" not in text, page
        assert not re.search(r"(?<![\w.~])/(home|root|work|tmp|mnt|opt|Users)/", text), page


def test_pages__are_all_in_the_index(repository: Path) -> None:
    index = (repository / "docs" / "README.md").read_text()
    for page in (repository / "docs").rglob("*.md"):
        name = str(page.relative_to(repository / "docs"))
        assert name == "README.md" or f"]({name})" in index, name


def command_lines(repository: Path, program: str) -> Iterator[tuple[str, list[str]]]:
    """Where, and the words of every indented or fenced line that runs the program, its continuation lines joined."""
    for page in pages(repository):
        text = page.read_text().replace("\\\n", " ")
        fenced = False
        for line in text.splitlines():
            fenced ^= line.startswith("```")
            words = line.strip().removeprefix("$ ").strip()
            if (fenced or line.startswith("    ")) and re.match(rf"{program} [a-z-]", words):
                yield f"{page.name}: {words}", shlex.split(words.partition(" # ")[0], comments=True)[1:]


def options(program: str, words: list[str]) -> set[str]:
    """Every option of the command that the words name, which may be a command of a command, as its parser knows it."""
    if program == "vcfrag":
        app = cli.build_app(words[0])
    else:
        from vcfrag_indexd.cli import app as daemon

        app = daemon.app
    command: Any = typer.main.get_command(app)
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("program", ["vcfrag", "vcfrag-indexd"])
def test_command_lines__use_options_that_exist(repository: Path, program: str) -> None:
    checked = 0
    for where, words in command_lines(repository, program):
        if words[0].startswith("-"):
            continue
        known = options(program, words)
        written = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert written <= {*known, "--help"}, where
        checked += 1
    assert checked


def test_cli_page__is_what_the_commands_say(repository: Path) -> None:
    script = repository / "scripts" / "cli_page.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=120)
    assert (repository / "docs" / "cli.md").read_text() == done.stdout, "the options changed; run: make docs"


def test_toml__of_the_readme_is_a_configuration(repository: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)
    (tmp_path / "chr20.toml").write_text(block)
    config = load_config(tmp_path / "chr20.toml")
    assert (config.panel.path, config.panel.map) == (tmp_path / "panel.bcf", tmp_path / "chr20.gmap.gz")
    assert f"serve --panel {config.panel.name}=panel.bcf" in (repository / "README.md").read_text()


def test_daemon_page__names_every_setting(repository: Path) -> None:
    page = (repository / "docs" / "daemon.md").read_text()
    missing = [name for name in setting_names(ServeConfig) if f"`{name}`" not in page]
    assert not missing


def setting_names(kind: Any, prefix: str = "") -> Iterator[str]:
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from setting_names(hint, f"{name}.")
        else:
            yield prefix + name


def test_tests__named_in_the_documents_exist(repository: Path) -> None:
    named = [(page, *found) for page in pages(repository) for found in TEST.findall(page.read_text())]
    assert named
    for page, path, name in named:
        files = [repository / path, repository / "tests" / "indexd" / path]
        assert any(file.exists() and f"def {name}(" in file.read_text() for file in files), (page, path, name)


def test_make_targets__named_in_the_documents_exist(repository: Path) -> None:
    targets = set(MAKE_TARGET.findall((repository / "Makefile").read_text()))
    for page in pages(repository):
        for written in re.findall(r"`make ([a-z]+)`|^    make ([a-z]+)", page.read_text(), re.MULTILINE):
            assert (written[0] or written[1]) in targets, page
