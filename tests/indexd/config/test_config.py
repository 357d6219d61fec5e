"""Settings: file, then environment, then flags; unknown ones refused; what is printed gives itself again."""

from __future__ import annotations

from pathlib import Path

import pytest

from vcfrag_core.errors import ConfigError
from vcfrag_indexd.config.config import ServeConfig
from vcfrag_indexd.config.sources import as_toml, load_config
from vcfrag_proto.channel import split_address

TEXT = """
listen = "0.0.0.0:1"
[panels]
chr20 = "/data/chr20.bcf"
[engine]
threads = 3
name = "faiss-cpu"
[limits]
max_missing_share = 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "indexd.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_load__flags_override_the_environment_which_overrides_the_file(file: Path) -> None:
    config = load_config(
        file,
        panels=["chr21=/data/chr21.bcf"],
        flags={"listen": "127.0.0.1:3", "engine.name": None},
        environment={
            "VCFRAG_INDEXD_LISTEN": "127.0.0.1:2",
            "VCFRAG_INDEXD_ENGINE__THREADS": "2",
            "VCFRAG_INDEXD_ENGINE__WORKER": "true",
            "HOME": "/",
        },
    )
    assert config.listen == "127.0.0.1:3"
    assert (config.engine.threads, config.engine.name, config.engine.worker) == (2, "faiss-cpu", True)
    assert config.panels == {"chr20": Path("/data/chr20.bcf"), "chr21": Path("/data/chr21.bcf")}
    assert config.limits.max_missing_share == 0.0


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("listn = 'x'", r"bad\.toml: unknown setting listn; known are .*, listen,"),
        ("[engine]\nthread = 1", r"bad\.toml: unknown setting engine\.thread; known are .*threads"),
        ("[engine]\nthreads = 'many'", "engine.threads must be of type int"),
        ("[engine]\nthreads = true", "engine.threads must be of type int"),
        ("[engine]\nname = 'abacus'", "engine.name must be one of"),
        ("engine = 3", "engine must be a table"),
        ("listen = '127.0.0.1'", "listen must be HOST:PORT"),
        ("[limits]\nmax_k = 0", r"limits.max_k must be in \[1, 65536\], got 0"),
        ("[limits]\nmax_k = 3_000_000_000", r"limits.max_k must be in \[1, 65536\]"),
        ("[limits]\nmemory_budget_bytes = 1024\nmax_queued_bytes = 1024", r"max_queued_bytes must be in \[1, 512\]"),
        ("[limits]\nmax_missing_share = nan", r"max_missing_share must be in \[0, 1\], got nan"),
        ("[limits]\ntransfer_seconds = 0", "limits.transfer_seconds"),
        ("[drain]\nsettle_seconds = nan", r"drain.settle_seconds must be in \[0, 86400\], got nan"),
        ("[drain]\nlimit_seconds = inf", "drain.limit_seconds must be in .*, got inf"),
        ("[engine]\nworker_hang_seconds = inf", "engine.worker_hang_seconds"),
        ("[engine]\nthreads = 100_000", r"engine.threads must be in \[0, 1024\]"),
        ('[panels]\n"a\\u001b[2Jb" = "x"', "panels: .* must be printable"),
        ("[security]\nkey_file = 'a'", "belong together"),
        ("[log]\nlevel = 'loud'", "log.level"),
        ("listen = ", "is not TOML"),
    ],
)
def test_load__what_makes_no_sense_is_refused(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=match):
        load_config(path, environment={})


def test_load__a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin1.toml"
    path.write_bytes("cache_dir = '/données'".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin1\.toml is not TOML in UTF-8"):
        load_config(path, environment={})


def test_load__an_unknown_variable_is_refused() -> None:
    with pytest.raises(ConfigError, match="VCFRAG_INDEXD_LISEN: unknown setting lisen"):
        load_config(environment={"VCFRAG_INDEXD_LISEN": "x"})
    with pytest.raises(ConfigError, match=r"VCFRAG_INDEXD_ENGINE__THREAD: unknown setting engine\.thread"):
        load_config(environment={"VCFRAG_INDEXD_ENGINE__THREAD": "1"})


def test_load__a_panel_name_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--panel a is given twice, as one\.bcf and as two\.bcf"):
        load_config(panels=["a=one.bcf", "b=two.bcf", "a=two.bcf"], environment={})


def test_load__a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.toml", environment={})


def test_as_toml__gives_the_same_configuration_again(file: Path, tmp_path: Path) -> None:
    config = load_config(file, flags={"health_listen": "127.0.0.1:9"}, environment={})
    again = tmp_path / "again.toml"
    again.write_text(as_toml(config), encoding="utf-8")
    assert load_config(again, environment={}) == config
    assert as_toml(ServeConfig()).startswith('listen = "127.0.0.1:50510"')


def test_devices__are_a_list_in_a_file_and_numbers_with_commas_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "devices.toml"
    file.write_text("[engine]\ndevices = [2, 0]\n")
    assert load_config(file, environment={}).engine.devices == (2, 0)
    assert load_config(file, environment={"VCFRAG_INDEXD_ENGINE__DEVICES": "1,3"}).engine.devices == (1, 3)
    again = tmp_path / "again.toml"
    again.write_text(as_toml(load_config(file, environment={})))
    assert load_config(again, environment={}).engine.devices == (2, 0)


@pytest.mark.parametrize("value", ["[1, 1]", "[-1]", "1", '["x"]'])
def test_devices__that_make_no_sense_are_refused(tmp_path: Path, value: str) -> None:
    file = tmp_path / "devices.toml"
    file.write_text(f"[engine]\ndevices = {value}\n")
    with pytest.raises(ConfigError, match=r"engine\.devices"):
        load_config(file, environment={})


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:x", "host:70000"])
def test_split_address__refuses_what_is_not_host_and_port(address: str) -> None:
    with pytest.raises(ConfigError):
        split_address(address)


def test_split_address__takes_ipv6() -> None:
    assert split_address("[::1]:50510") == ("[::1]", 50510)
