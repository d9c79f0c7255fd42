"""Metrics: the platform's own by name, and the example of docs/plugins.md."""

from pathlib import Path

import pytest
import torch

from kmcl_platform.config.reports.epoch_report import objective_names
from kmcl_platform.config.search_file import Objective
from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.errors import ConfigError
from kmcl_platform.plugins import Metric, list_components
from kmcl_platform.search.run.checks.component_check import check_components
from kmcl_platform.training.evaluate import split_metrics
from tests.support.example import read_example

PLUGIN, LINES = read_example("A metric", "python"), read_example("A metric", "yaml")
SEARCH = (
    LINES
    + """
name: s
base: {num_epochs: 2}
space: {loss.temperature: {kind: uniform, low: 0.1, high: 1}}
budget: {trials: 4}
"""
)

SCORES = torch.tensor([[0.9, 0.1, 0.3], [0.2, 0.8, 0.7], [0.6, 0.5, 0.4], [0.1, 0.2, 0.3]])
TARGETS = torch.tensor([[1, 0, 0], [0, -1, 1], [0, 1, 0], [0, 0, -1]])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A search file with the lines of the page, beside the plug-in."""
    (tmp_path / "my_metrics.py").write_text(PLUGIN)
    (tmp_path / "s.yaml").write_text(SEARCH)
    return tmp_path / "s.yaml"


def test_the_platforms_own_names() -> None:
    assert list_components(Metric, built_in=True) == ["ranking", "threshold", "top3"]
    names = objective_names(built_in=True)
    assert names[:6] == [
        "train/loss", "train/asymmetric", "train/reconstruction", "train/contrastive", "val/mAP", "val/macro_AUROC"
    ]  # fmt: skip
    assert len(names) == len(set(names)) == 18


def test_the_example_is_an_objective_with_its_direction(file: Path) -> None:
    search = read_search_file(file)
    check_components(search)
    assert search.objective == Objective(metric="val/all_wrong", mode="minimize")
    file.write_text(SEARCH.replace("all_wrong}", "all_wrong, mode: maximize}"))
    assert read_search_file(file).objective.mode == "maximize"
    assert (Objective().mode, Objective(metric="train/loss").mode) == ("maximize", "minimize")


def test_a_split_has_it_beside_the_platforms_own_only_if_the_trial_names_the_plugin(file: Path) -> None:
    search = read_search_file(file)
    own = split_metrics("val", SCORES, TARGETS)
    assert "val/all_wrong" not in own
    found = split_metrics("val", SCORES, TARGETS, search.base.plugins)
    # Of the three images with a known positive, the third has its highest score elsewhere.
    assert found == own | {"val/all_wrong": pytest.approx(1 / 3)}
    # Without a positive label it is undefined.
    assert "val/all_wrong" not in split_metrics("val", SCORES, TARGETS.clamp(max=0), search.base.plugins)


def test_a_value_that_is_not_finite_is_left_out(file: Path) -> None:
    (file.parent / "my_metrics.py").write_text(PLUGIN.replace("return wrong_N", "return float('nan') + wrong_N"))
    search = read_search_file(file)
    assert "val/all_wrong" not in split_metrics("val", SCORES, TARGETS, search.base.plugins)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("def measure(", "def value(", r"register\('all_wrong'\): got a class without the method `measure`; valid: "),
        ('mode = "minimize"', 'mode = "smaller"', r"got mode = 'smaller'; valid: 'maximize', 'minimize'"),
        ('mode = "minimize"', "weight: float = 1.0", r"got options, weight; valid: no options, a metric is the same"),
        ('"all_wrong"', '"ranking"', r"register\('ranking'\): got a metric that kmcl_platform\..* has registered"),
    ],
)  # fmt: skip
def test_a_plugin_that_cannot_be_loaded_is_one_line(file: Path, before: str, after: str, message: str) -> None:
    assert before in PLUGIN
    (file.parent / "my_metrics.py").write_text(PLUGIN.replace(before, after))
    with pytest.raises(ConfigError, match=rf"plugins\.my_metrics: .*{message}") as caught:
        read_search_file(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (".argmax(1)", ".no_such()", r"the metric all_wrong raises AttributeError: .*; valid: no error"),
        (".double().mean().item()", ".tolist()", r"the metric all_wrong raises TypeError: .*; valid: no error"),
        ("if not counted_N.any():", "if True:", r"the metric all_wrong: got no value for made-up scores of 12 images;"),
    ],
)  # fmt: skip
def test_wrong_code_is_found_before_anything_starts(file: Path, before: str, after: str, message: str) -> None:
    assert before in PLUGIN
    (file.parent / "my_metrics.py").write_text(PLUGIN.replace(before, after))
    with pytest.raises(ConfigError, match=rf"^plugins\.my_metrics: {message}") as caught:
        check_components(read_search_file(file))
    assert "\n" not in str(caught.value)


def test_a_metric_needs_its_plugin(file: Path) -> None:
    file.write_text(SEARCH.replace("plugins: [my_metrics]\n", ""))
    with pytest.raises(
        ConfigError,
        match=r"objective\.metric: got 'val/all_wrong'; valid: one of train/loss, .*, or a metric of a plug-in",
    ):
        read_search_file(file)
