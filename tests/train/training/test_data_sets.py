"""Runs over several data sets: taken in turns, each with its own reference, none teaching another's judges."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.conftest import FitFiles, write_fit_files
from vcfrag_core.errors import ConfigError, ProvenanceMismatchError, ProvenanceMissingError, UnknownContigError
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.model.exported import read_exported, read_weights
from vcfrag_core.panel.panel import Panel
from vcfrag_core.sampling.sampler import SamplerConfig, WindowGroupedSampler
from vcfrag_train.inspect.inspection import inspect_run
from vcfrag_train.models.export import export_model
from vcfrag_train.models.trained import load_trained
from vcfrag_train.runs.folder import RunFolder
from vcfrag_train.runs.index_usage import IndexUsage
from vcfrag_train.training.config import DataConfig, FitConfig, SplitConfig, load_config
from vcfrag_train.training.data.dataset import load_run_data
from vcfrag_train.training.data.plan import _in_turns
from vcfrag_train.training.session import ValidationWarning, fields_of, fit

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def other_files(tmp_path_factory: pytest.TempPathFactory, make_panel: Callable[..., Panel]) -> FitFiles:
    """Another panel of other people and sites."""
    panel = make_panel(n_samples=30, n_sites=150, seed=9)
    renamed = dataclasses.replace(panel, samples=tuple(f"T{name}" for name in panel.samples))
    return write_fit_files(tmp_path_factory.mktemp("other"), renamed, cm=3.0)


@pytest.fixture(scope="module")
def several(fit_config: Make, other_files: FitFiles) -> Callable[..., FitConfig]:
    """Makes the configuration of three data sets: two of them are one panel with other references."""

    def make(**changes: Any) -> FitConfig:
        config, other = fit_config(), fit_config(files=other_files)
        part = dataclasses.replace(config.split, reference_samples=10)
        panel = dataclasses.replace(other.panel, name="other")
        data = (
            DataConfig(name="whole", panel=config.panel, split=config.split, visits=3),
            DataConfig(name="part", panel=config.panel, split=part, visits=2),
            DataConfig(name="other", panel=panel, split=other.split, visits=1),
        )
        return dataclasses.replace(config, **{"panel": None, "split": None, "data": data, "epochs": 1, **changes})

    return make


@pytest.fixture(scope="module")
def run(several: Callable[..., FitConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(several(), tmp_path_factory.mktemp("several") / "run")


def index_usage_of(run: Path) -> IndexUsage:
    folder = RunFolder.open(run).pointed("last")
    assert folder is not None
    return IndexUsage.read(folder / "ledger.json")


def test_fit__takes_every_data_set_and_can_be_trusted(run: Path, several: Callable[..., FitConfig]) -> None:
    uses = [use for use in index_usage_of(run) if use.role == "train"]
    visits = {name: {use.mask.visit for use in uses if use.mask.data == name} for name in ("whole", "part", "other")}
    assert visits == {"whole": {0, 1, 2}, "part": {0, 1}, "other": {0}}
    assert len({use.identity.panel for use in uses}) == 2
    assert len({use.identity.split for use in uses}) == 3
    found = inspect_run(run)
    assert found.trustworthy
    assert found.masks_drawn_again == len({(u.role, u.mask) for u in index_usage_of(run)})
    data = load_run_data(several())
    record = load_trained(run).provenance
    assert record.fields["split"] == data.fields["split"]
    assert all(f"{one.name}: " in record.described["split"] for one in data.sets)


def test_load_run_data__a_region_by_another_name_of_its_contig(fit_config: Make) -> None:
    config = fit_config()
    whole = load_run_data(config).sets[0].panel
    stop = int(whole.positions[119])

    def panel_of(region: str) -> Panel:
        named = dataclasses.replace(config.panel, region=region)
        return load_run_data(dataclasses.replace(config, panel=named)).sets[0].panel

    own, other = (panel_of(f"{name}:1-{stop}") for name in (whole.contig, f"chr{whole.contig}"))
    assert (own.n_sites, own.digest) == (120, other.digest)
    with pytest.raises(UnknownContigError, match=r"^panel\.region 7:1-9: .*no contig '7' here"):
        panel_of("7:1-9")


def test_fit__a_part_of_the_reference_answers_for_everybody(several: Callable[..., FitConfig]) -> None:
    whole, part, _ = load_run_data(several()).sets
    assert part.splits.train_samples == whole.splits.train_samples
    assert len(part.splits.train.reference) == 10
    assert set(part.splits.train.reference) < set(whole.splits.train.reference)
    assert not set(part.splits.validation_samples) & set(part.splits.train.reference)
    assert part.counted is not None
    assert not part.counted.all()
    for mask in part.validation.values():
        assert not (mask & ~part.counted).any()
    rows = part.panel.rows_of(part.splits.train.reference)
    np.testing.assert_array_equal(part.counted, np.ptp(part.panel.haplotypes(rows), axis=0) > 0)


def test_fit__goes_on_as_if_it_had_not_stopped(
    run: Path, several: Callable[..., FitConfig], tmp_path: Path, steps_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vcfrag_train.training.callbacks.checkpointing import Checkpointer, Stopped

    save = Checkpointer._save

    def stop(self: Checkpointer, *args: Any, **options: Any) -> None:
        save(self, *args, **options)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "_save", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(several(), tmp_path / "run")
    assert len(steps_of(tmp_path / "run")) < len(steps_of(run))
    fit(resume=tmp_path / "run")
    assert steps_of(tmp_path / "run") == steps_of(run)
    fewer = dataclasses.replace(several().data[0], visits=2)
    with pytest.raises(ProvenanceMismatchError, match="the optimiser differs"):
        fit(several(data=(fewer, *several().data[1:])), resume=tmp_path / "run")


def test_export__scores_speak_of_every_data_set(run: Path, tmp_path: Path) -> None:
    export_model(run, tmp_path / "model")
    _, scores = read_exported(tmp_path / "model")
    assert {name: one["reference_samples"] for name, one in scores["data"].items()}["part"] == 10
    with (run / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 5
    row = next(row for row in rows if (row["data"], row["mask"], row["maf"]) == ("other", "half", "5-50"))
    assert scores["data"]["other"]["half"]["5-50"]["model"] == pytest.approx(float(row["model"]), abs=1e-6)
    model = load_trained(tmp_path / "model")
    assert model.scores.sizes == tuple(sorted(one["reference_samples"] for one in scores["data"].values()))
    assert model.reference_samples == (10, max(model.scores.sizes))


def test_fit__begins_with_the_weights_of_a_model(run: Path, several: Callable[..., FitConfig], tmp_path: Path) -> None:
    export_model(run, tmp_path / "model")
    still = dataclasses.replace(several().optimiser, learning_rate=1e-12)
    config = several(weights=tmp_path / "model", optimiser=still)
    again = fit(config, tmp_path / "run")
    ours, theirs = (read_weights(RunFolder.open(path).checkpoint())[0] for path in (again, run))
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6)
    assert " after " in load_trained(again).provenance.fields["seed"]
    # The checkpoint holds the weights: the folder of the first ones may be gone, other ones may not be named.
    (tmp_path / "model").rename(tmp_path / "moved")
    assert fit(resume=again) == again
    with pytest.raises(ProvenanceMissingError, match="elsewhere"):
        fit(dataclasses.replace(config, weights=tmp_path / "elsewhere"), resume=again)
    with pytest.raises(ProvenanceMismatchError, match="the seed differs"):
        fit(dataclasses.replace(config, weights=None), resume=again)


def test_fit__says_that_its_judges_may_have_taught_the_first_weights(
    trained: Path, several: Callable[..., FitConfig], tmp_path: Path
) -> None:
    export_model(trained, tmp_path / "model")
    config = several(weights=tmp_path / "model")
    fields = fields_of(config, load_run_data(config))
    assert fields["seed"].startswith("3 after ")
    judges = tuple(dataclasses.replace(one, split=dataclasses.replace(one.split, seed=4)) for one in config.data)
    others = dataclasses.replace(config, data=judges)
    with pytest.warns(ValidationWarning, match="may have taught it"):
        fields_of(others, load_run_data(others))


def test_load_run_data__who_validates_in_one_data_set_teaches_in_none(several: Callable[..., FitConfig]) -> None:
    whole, part, other = several().data
    part = dataclasses.replace(part, split=dataclasses.replace(part.split, seed=7))
    with pytest.raises(ConfigError, match=r"trains in data set '\w+' and validates in '\w+'"):
        load_run_data(several(data=(whole, part, other)))


def with_roles(one: DataConfig, folder: Path, samples: Path | None, roles: dict[str, str]) -> DataConfig:
    """A data set whose split is a file: these roles, nobody else has a part."""
    names = load_panel(one.panel.path, cache_dir=one.panel.cache_dir).samples
    rows = "".join(f"{name}\t{roles.get(name, 'unused')}\n" for name in names)
    (folder / f"{one.name}.roles").write_text(f"sample\trole\n{rows}")
    return dataclasses.replace(one, split=SplitConfig(samples=samples, file=folder / f"{one.name}.roles"))


def test_load_run_data__one_person_is_one_with_and_without_a_table(
    several: Callable[..., FitConfig], tmp_path: Path
) -> None:
    whole, part, other = several().data
    first = [f"S{i:04}" for i in range(8)]
    train, judge = dict.fromkeys(first, "train"), dict.fromkeys(first, "validation")
    validate = dict.fromkeys((f"S{i:04}" for i in range(20, 24)), "validation")
    whole = with_roles(whole, tmp_path, whole.split.samples, train | validate)
    rest = dict.fromkeys((f"S{i:04}" for i in range(10, 14)), "train")
    with pytest.raises(ConfigError, match="sample 'S0000' trains in data set 'whole' and validates in 'part'"):
        load_run_data(several(data=(whole, with_roles(part, tmp_path, None, judge | rest))))
    # The table of a third data set alone says that S0000 and S0001 are related, by people whom no panel has.
    (tmp_path / "samples.tsv").write_text("sample\tfather\nS0000\tX\nY\tX\nS0001\tY\n")
    part = with_roles(part, tmp_path, None, {"S0001": "validation"} | rest)
    whole = with_roles(whole, tmp_path, None, {"S0000": "train"} | dict.fromkeys(first[2:], "train") | validate)
    roles = {"TS0003": "train", "TS0004": "train", "TS0005": "validation"}
    other = with_roles(other, tmp_path, tmp_path / "samples.tsv", roles)
    with pytest.raises(ConfigError, match="'S0000' trains in data set 'whole' and as 'S0001', of its family, valid"):
        load_run_data(several(data=(whole, part, other)))


def test_load_run_data__families_of_one_name_in_two_tables_are_one(
    several: Callable[..., FitConfig], tmp_path: Path
) -> None:
    whole, _, other = several().data
    names = {"whole": [f"S{i:04}" for i in range(2, 12)], "other": [f"TS{i:04}" for i in range(3, 6)]}

    def load(family: str) -> object:
        (tmp_path / "whole.fam").write_text("".join(f"1 {name} 0 0 0 -9\n" for name in names["whole"][:2]))
        (tmp_path / "other.fam").write_text(f"{family} {names['other'][2]} 0 0 0 -9\n")
        roles = dict.fromkeys(names["whole"], "train") | {"S0030": "validation"}
        one = with_roles(whole, tmp_path, tmp_path / "whole.fam", roles)
        roles = dict.fromkeys(names["other"][:2], "train") | {names["other"][2]: "validation"}
        return load_run_data(several(data=(one, with_roles(other, tmp_path, tmp_path / "other.fam", roles))))

    with pytest.raises(
        ConfigError, match=r"of its family,.*unrelated families that have one name in two tables need two"
    ):
        load("1")
    assert load("B1")


def test_load_run_data__who_is_referred_to_in_one_data_set_judges_in_none(
    several: Callable[..., FitConfig], tmp_path: Path
) -> None:
    whole, part, _ = several().data
    people = [f"S{i:04}" for i in range(2, 20)]
    roles = dict.fromkeys(people, "train") | {"S0030": "validation"}
    outside = with_roles(part, tmp_path, None, roles)
    outside = dataclasses.replace(
        outside, split=dataclasses.replace(outside.split, reference_samples=4, queries="outside")
    )
    referred = load_run_data(several(data=(outside,))).sets[0].splits.train.reference
    others = {"S0031": "train", "S0032": "train"} | dict.fromkeys(referred, "validation")
    with pytest.raises(ConfigError, match=f"sample {referred[0]!r} trains in data set 'part'"):
        load_run_data(several(data=(outside, with_roles(whole, tmp_path, None, others))))


def test_inspect__a_table_of_one_data_set_speaks_for_all(
    run: Path, several: Callable[..., FitConfig], tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "copied"))
    splits = RunFolder.open(run).splits()
    judge, taught = splits["whole"].validation_samples[0], splits["other"].train_samples[-1]
    (tmp_path / "samples.tsv").write_text(f"sample\tfather\n{judge}\tZ\n{taught}\tZ\n")
    given = str(several().data[2].split.samples)
    text = (copied / "config.toml").read_text()
    assert text.count(given) == 1
    (copied / "config.toml").write_text(text.replace(given, str(tmp_path / "samples.tsv")))
    leaks = inspect_run(copied).leaks
    assert any(f"of a validation sample's group, such as {taught!r}" in leak for leak in leaks)


def test_load_run_data__populations_choose_the_reference(fit_config: Make, tmp_path: Path) -> None:
    config = fit_config()
    table = config.split.samples.read_text().splitlines()
    rows = [row.split("\t") for row in table[1:]]
    mixed = [[name, "PQ"[i % 2], *rest] for i, (name, _, *rest) in enumerate(rows)]
    (tmp_path / "samples.tsv").write_text("\n".join([table[0], *map("\t".join, mixed)]) + "\n")
    split = dataclasses.replace(config.split, samples=tmp_path / "samples.tsv", reference_populations=("Q",))
    data = load_run_data(dataclasses.replace(config, split=split)).sets[0]
    of = {row[0]: row[1] for row in mixed}
    assert {of[name] for name in data.splits.train.reference} == {"Q"}
    assert {of[name] for name in data.splits.train_samples} == {"P", "Q"}
    outside = dataclasses.replace(split, queries="outside")
    of_others = load_run_data(dataclasses.replace(config, split=outside)).sets[0].splits
    assert {of[name] for name in of_others.train_samples} == {"P"}
    assert of_others.train == data.splits.train
    with pytest.raises(ConfigError, match="leaves no query"):
        load_run_data(dataclasses.replace(config, split=dataclasses.replace(config.split, queries="outside")))
    misspelt = dataclasses.replace(split, reference_populations=("Q", "R"))
    with pytest.raises(ConfigError, match=r"has no population 'R'; it has P, Q, SP$"):
        load_run_data(dataclasses.replace(config, split=misspelt))
    too_many = dataclasses.replace(split, reference_samples=100)
    with pytest.raises(ConfigError, match=r"a reference of 100 samples is wanted, there are 1\d training samples"):
        load_run_data(dataclasses.replace(config, split=too_many))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[data]]\nname = "x"\nvisits = 0\npanel = { path = "a" }\n', "data.visits must be between 1"),
        ('[panel]\npath = "a"\n[split]\nreference_samples = 0\n', "split.reference_samples must be between 2"),
        ('[panel]\npath = "a"\n[optimiser]\nuncertain_sites = 0\n', "optimiser.uncertain_sites must be"),
        ('[panel]\npath = "a"\n[trainer]\nsites_at_once = 0\n', "trainer.sites_at_once must be"),
        ("seed = 1\n", "one table"),
        ('[panel]\npath = "a"\n[[data]]\nname = "x"\npanel = { path = "a" }\n', "one table"),
        ('[split]\nseed = 1\n[[data]]\nname = "x"\npanel = { path = "a" }\n', "data.split"),
        ('[[data]]\nname = "x"\npanel = { path = "a" }\n[[data]]\nname = "x"\npanel = { path = "a" }\n', "of its own"),
        ('[[data]]\nname = "x"\npanel = { path = "a" }\n[[data]]\nname = "y"\npanel = { path = "b" }\n', "two panels"),
        ('[metric]\nrefresh_windows = 2\nrefresh_epochs = 0\n[[data]]\nname = "x"\npanel = { path = "a" }\n', "epochs"),
    ],
)
def test_load_config__refuses_what_is_not_one_run(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "fit.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config(tmp_path / "fit.toml")


def test_run_folder__splits_of_several_are_read_back(run: Path, several: Callable[..., FitConfig]) -> None:
    assert RunFolder.open(run).splits() == load_run_data(several()).splits
    assert set(json.loads((run / "splits.json").read_text())) == {"data"}


@given(rounds=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=9), min_size=1, max_size=4))
def test_in_turns__every_batch_once_visits_whole_and_spread(rounds: list[list[int]]) -> None:
    places = _in_turns(rounds)
    for number, batches in enumerate(rounds):
        assert [at for which, at in places if which == number] == list(range(sum(batches)))
    visits = [which for which, _ in places]
    # With single batches of equal counts the data sets alternate.
    if len({tuple(batches) for batches in rounds}) == 1 and set(rounds[0]) == {1}:
        assert visits == list(range(len(rounds))) * len(rounds[0])


@pytest.mark.parametrize("world_size", [1, 2])
def test_sampler__rounds_make_an_epoch(world_size: int) -> None:
    config = SamplerConfig(n_samples=20, n_windows=5, batch_size=4, samples_per_visit=8, visits_per_epoch=7, lanes=2)
    sampler = WindowGroupedSampler(config, rank=0, world_size=world_size)
    assert sum(sampler.rounds) == len(sampler)
    visits = [sampler.batch_at(position).visit for position in range(len(sampler))]
    at = 0
    seen: set[int] = set()
    for batches in sampler.rounds:
        here = set(visits[at : at + batches])
        assert not here & seen
        seen |= here
        at += batches


def test_load_run_data__refuses_a_panel_of_samples_with_one_haplotype(
    fit_config: Make, make_panel: Callable[..., Panel], tmp_path: Path
) -> None:
    files = write_fit_files(tmp_path, make_panel(n_samples=12, n_sites=80, seed=4))
    lines = gzip.decompress(files.panel.read_bytes()).decode().splitlines()
    # The last sample, written with one allele.
    lone = [line if line.startswith("#") else re.sub(r"(\d)\|\d$", r"\1", line) for line in lines]
    files.panel.write_bytes(gzip.compress("\n".join([*lone, ""]).encode()))
    with pytest.raises(
        ConfigError, match=r"1 of 12 samples have one haplotype on .*; a model is trained on samples of"
    ):
        load_run_data(fit_config(files=files))
