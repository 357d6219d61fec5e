"""The report: one file, nothing fetched, every figure and table there."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.imputed_text import World, WorldFiles, small_world, write_imputed, write_world
from vcfrag_core.errors import InputError
from vcfrag_core.files.panel.cache import load_panel
from vcfrag_core.scoring.bootstrap import Interval
from vcfrag_train.evaluation import evaluate as evaluation
from vcfrag_train.evaluation import plots, report
from vcfrag_train.evaluation.evaluate import EvaluationConfig, EvaluationFiles
from vcfrag_train.evaluation.results import Cost, Evaluation

METRICS_CSV = "epoch,step,train_loss,half_model_r2,half_copying_r2,seconds\n0,10,0.2,0.9,0.91,3\n1,20,0.1,0.93,0.91,3\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> WorldFiles:
    return write_world(small_world(), tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def result(files: WorldFiles, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("imputed")
    world: World = small_world()
    paths = [
        (name, write_imputed(folder / f"{i}.vcf.gz", world, noise, seed=i, info="R2=0.8"))
        for i, (name, noise) in enumerate([("ours", 0.3), ("<b>theirs</b>", 0.35), ("worse", 0.9)])
    ]
    config = EvaluationConfig(resamples=30)
    given = EvaluationFiles(
        imputed=tuple(paths), truth=files.truth, panels=(files.panel,), typed=files.typed, samples_table=files.samples
    )
    hidden = evaluation.load_evaluation_truth(given, config, load_panel(files.panel, cache_dir=folder))
    cost = Cost(
        wall_seconds=1.5, cpu_seconds=2.5, preparation_seconds=0.5, peak_bytes=2**30, threads=2, command="impute --fast"
    )
    methods = [evaluation.file_method(name, path, config, cost) for name, path in paths]
    return evaluation.evaluate_methods([hidden], methods, given, config)


@pytest.fixture(scope="module")
def page(result: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    (folder / "metrics.csv").write_text(METRICS_CSV)
    report.write_report(result, folder / "report.html", run=folder)
    return (folder / "report.html").read_text(encoding="utf-8")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.addresses: list[str] = []
        self.cells = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.cells += tag == "td"
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src", "xlink:href", "action"}]

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"h1", "h2"} and data.strip():
            self.headings.append(data)


def parsed(page: str) -> _Page:
    parser = _Page()
    parser.feed(page)
    return parser


def test_report__fetches_nothing(page: str) -> None:
    found = parsed(page)
    assert [address for address in found.addresses if not address.startswith("#")] == []
    assert "script" not in found.open
    assert re.findall(r"@import|url\((?!#)", page) == []
    assert "default-src 'none'" in page


def test_report__has_every_section(page: str) -> None:
    headings = parsed(page).headings
    for wanted in (
        "Accuracy by allele frequency",
        "Compared",
        "Calibration",
        "Along the region",
        "By super-population",
        "Training",
        "Aggregate dosage r²",
        "Error of ours, compared",
        "IQS",
        "Estimated r² against true r² per site",
        "Cost of the whole process",
        "Where these numbers come from",
    ):
        assert wanted in headings


def test_report__names_are_escaped(page: str) -> None:
    assert "<b>theirs" not in page
    assert "&lt;b&gt;theirs&lt;/b&gt;" in page


def test_report__says_where_numbers_come_from(page: str, result: Evaluation) -> None:
    for method in result.methods:
        assert method.digest in page
    assert result.provenance["files"]["truth"]["blake2b"] in page
    assert "impute --fast" in page
    assert "1.5 s" in page
    assert "1,024 MiB" in page


def test_report__figures_are_well_formed_and_described(page: str) -> None:
    figures = re.findall(r'<figure role="img" aria-label="([^"]+)">(.*?)<figcaption>', page, flags=re.DOTALL)
    assert len(figures) == 6
    for label, svg in figures:
        assert len(label) > 20
        assert ET.fromstring(svg).tag.endswith("svg")


def test_report__without_run_or_populations_leaves_those_figures_out(
    result: Evaluation, files: WorldFiles, tmp_path: Path
) -> None:
    first = Path(result.methods[0].source)
    given = EvaluationFiles(imputed=(("ours", first),), truth=files.truth, panels=(files.panel,), typed=files.typed)
    alone = evaluation.evaluate(given, EvaluationConfig(resamples=0))
    report.write_report(alone, tmp_path / "a.html")
    headings = parsed((tmp_path / "a.html").read_text(encoding="utf-8")).headings
    assert "Aggregate dosage r²" in headings
    assert {"Training", "By super-population", "Compared"}.isdisjoint(headings)


def test_headline__says_what_was_found(result: Evaluation) -> None:
    text = report.headline(result)
    value = result.methods[0].metrics["aggregate_r2"][-1].value
    assert text.startswith(f"ours imputes the hidden sites with an aggregate dosage r² of {value:.4f}: ")
    assert "% less error than <b>theirs</b> (paired interval −" in text


def test_training_rows__refuses_a_folder_without_metrics(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no metrics\.csv"):
        report.training_rows(tmp_path)


def test_headline__passes_over_a_method_that_is_the_same(result: Evaluation, files: WorldFiles) -> None:
    first, second = (Path(method.source) for method in result.methods[:2])
    given = EvaluationFiles(
        imputed=(("ours", first), ("twin", first), ("other", second)),
        truth=files.truth,
        panels=(files.panel,),
        typed=files.typed,
    )
    assert "than other" in report.headline(evaluation.evaluate(given, EvaluationConfig(resamples=5)))


def test_looks__baselines_are_grey_and_keep_their_markers(result: Evaluation) -> None:
    methods = [*result.methods[:2], dataclasses.replace(result.methods[2], digest="")]
    styles = plots.looks(dataclasses.replace(result, methods=tuple(methods)))
    assert styles[2].colour not in {plots.look(number).colour for number in range(8)}
    assert len({style.marker for style in styles}) == 3


def test_looks__are_distinct_without_colour() -> None:
    """In black and white, marker and dash still tell 12 methods apart."""
    looks = [plots.look(number) for number in range(12)]
    assert len({(look.marker, look.dash) for look in looks}) == 12
    assert len({look.colour for look in looks[:8]}) == 8


def test_figures__same_evaluation_same_bytes(result: Evaluation) -> None:
    assert plots.r2_by_maf(result) == plots.r2_by_maf(result)


def test_error_changes__the_axis_says_no_rounded_percentages(result: Evaluation) -> None:
    def small(interval: Interval, high: float) -> Interval:
        return dataclasses.replace(interval, value=min(0.03, high), low=-0.05, high=high)

    for high in (0.004, 0.02, 0.12, 0.6):
        made = [
            dataclasses.replace(d, error_change=tuple(small(i, high) for i in d.error_change))
            for d in result.differences
        ]
        figure = plots.error_changes(dataclasses.replace(result, differences=tuple(made)))
        labels = [float(text.replace("−", "-")) for text in re.findall(r">([-−]?[\d.]+)%<", figure)]
        steps = np.diff(sorted(labels))
        assert len(labels) > 3
        np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
