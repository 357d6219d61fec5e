"""Configurations: what is refused, what round-trips, and that every shipped file loads."""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from pathlib import Path

import pytest

from vcfrag_core.errors import ConfigError
from vcfrag_core.masks.draw import ArrayLikeMask, RandomMask
from vcfrag_core.model.network import ModelConfig
from vcfrag_core.settings import dump_toml, from_table
from vcfrag_train.training.config import FitConfig, MasksConfig, PanelConfig, SplitConfig, config_table, load_config

MINIMAL = '[panel]\npath = "panel.bcf"\n'
CONFIGS = sorted((Path(__file__).resolve().parents[3] / "configs").glob("*.toml"))


@pytest.fixture
def write(tmp_path: Path):
    def write_text(text: str) -> Path:
        path = tmp_path / "run.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


def test_load__paths_are_relative_to_the_file(write, tmp_path: Path) -> None:
    assert load_config(write(MINIMAL)).panel.path == tmp_path / "panel.bcf"


def test_load__environment_in_paths(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('[panel]\npath = "${FOLDER_OF_DATA:-elsewhere}/panel.bcf"\n')
    monkeypatch.delenv("FOLDER_OF_DATA", raising=False)
    assert load_config(path).panel.path == tmp_path / "elsewhere" / "panel.bcf"
    monkeypatch.setenv("FOLDER_OF_DATA", "/data")
    assert load_config(path).panel.path == Path("/data/panel.bcf")
    monkeypatch.setenv("FOLDER_OF_DATA", "here")
    assert load_config(path).panel.path == Path.cwd() / "here" / "panel.bcf"


def test_load__environment_variable_that_is_not_set_is_refused(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOLDER_OF_DATA", raising=False)
    with pytest.raises(ConfigError, match=r"panel.path.*FOLDER_OF_DATA"):
        load_config(write('[panel]\npath = "${FOLDER_OF_DATA}/panel.bcf"\n'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "colour = 1\n", r"unknown key 'panel.colour'"),
        (MINIMAL + "[optimizer]\n", r"unknown key 'optimizer'"),
        ("[panel]\n", r"'panel.path' is missing"),
        (MINIMAL + "[windows]\nsites = true\n", r"windows.sites must be int"),
        (MINIMAL + '[windows]\nsites = "many"\n', r"windows.sites must be int"),
        (MINIMAL + "[windows]\nsites = 0\n", r"windows.sites must be between"),
        (MINIMAL + "[masks]\nlevels = [0.5, 1.5]\n", r"a level must be a number"),
        (MINIMAL + '[masks]\nrefresh = "never"\n', r"masks.refresh must be one of 'visit', 'epoch'"),
        (MINIMAL + "[masks]\nlevels = 0.5\n", r"masks.levels must be list"),
        (MINIMAL + '[masks]\narray = { kind = "chip" }\n', r"unknown mask kind 'chip'"),
        (MINIMAL + '[optimiser]\nloss = "hinge"\n', r"optimiser.loss must be one of"),
        (MINIMAL + "[metric]\nrefresh_windows = 5\n", r"give refresh_windows or refresh_epochs"),
        ("not toml", r"not TOML"),
    ],
)
def test_load__refuses(write, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(text))


def test_load__a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_config(tmp_path / "none.toml")


def test_table__round_trip_keeps_everything() -> None:
    mixture = {"kind": "mixture", "policies": [{"kind": "random", "rate": 0.5}], "shares": [1.0]}
    config = FitConfig(
        seed=7, panel=PanelConfig(path=Path("/data/a b.bcf")), masks=MasksConfig(array=mixture), model={"layers": 2}
    )
    again = from_table(FitConfig, tomllib.loads(dump_toml(config_table(config))), base=Path("/nowhere"))
    assert again == config


def test_masks__array_policy_of_the_table() -> None:
    assert MasksConfig().array_policy() == ArrayLikeMask()
    assert MasksConfig(array={"kind": "random", "rate": 0.95}).array_policy() == RandomMask(0.95)
    with pytest.raises(ConfigError, match="array_sites"):
        MasksConfig(array={"kind": "array"}, array_sites=Path("x"))


def test_masks__epochs_of_every_level() -> None:
    masks = MasksConfig(levels=(0.2, 0.4), epochs_per_level=(2, 3))
    curriculum = masks.curriculum(ArrayLikeMask())
    assert [curriculum.level(epoch) for epoch in range(6)] == [0.2, 0.2, 0.4, 0.4, 0.4, 0.4]


def test_configs__all_five_are_there() -> None:
    names = ["any-panel", "chr20", "demo", "whole_chromosome_gpu", "whole_window_nearest"]
    assert [path.stem for path in CONFIGS] == names


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs__loads_with_a_model_that_can_be_built(path: Path) -> None:
    from vcfrag_train.training.components import model_config

    config = load_config(path)
    again = from_table(FitConfig, tomllib.loads(dump_toml(config_table(config))), base=Path("/nowhere"))
    assert again == config
    assert model_config(config.model).width % model_config(config.model).heads == 0


def test_configs__the_large_one_has_the_stated_shape() -> None:
    config = load_config(next(path for path in CONFIGS if path.stem == "whole_chromosome_gpu"))
    assert (config.model["layers"], config.model["width"], config.windows.sites) == (12, 384, 1020)
    assert config.model["learn_copying"] is True


def test_configs__the_replaced_system_retrieves_one_haplotype_of_the_whole_window() -> None:
    config = load_config(next(path for path in CONFIGS if path.stem == "whole_window_nearest"))
    assert config.retrieval is not None
    assert config.retrieval.k == 1
    assert config.windows.flank_cm == 0.0
    assert config.model["embedding"] == {"gated": False}


def documented() -> list[tuple[str, str]]:
    """Key and default of every setting in the table of docs/training.md."""
    text = (CONFIGS[0].parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
    table = text.split("| key | default | meaning |\n| --- | --- | --- |\n")[1].split("\n\n")[0]
    rows = [[cell.strip().split(", ") for cell in line.split("|")[1:3]] for line in table.splitlines()]
    return [(key.strip("`"), default) for keys, defaults in rows for key, default in zip(keys, defaults, strict=True)]


def test_docs__name_settings_and_their_defaults() -> None:
    tables = {"": FitConfig, "model": ModelConfig}
    tables |= {hint: kind for hint, kind in typing.get_type_hints(FitConfig).items() if dataclasses.is_dataclass(kind)}
    tables |= {"panel": PanelConfig, "split": SplitConfig}
    assert len(documented()) > 30
    for key, default in documented():
        table, _, name = key.rpartition(".")
        (field,) = (field for field in dataclasses.fields(tables[table]) if field.name == name)
        if default == "required":
            assert field.default is dataclasses.MISSING, key
        elif default == "—":
            assert field.default in (None, ()), key
        else:
            assert field.default == tomllib.loads(f"value = {default.strip('`')}")["value"], key
