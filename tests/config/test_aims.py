"""Several objectives and constraints: what a search file may say, and what counts as a trade-off."""

import itertools

import optuna
import pytest

from kmcl_platform.config.reports.costs import COSTS
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.space.aims import find_front, list_aims, list_constraints, wanted_costs
from kmcl_platform.errors import ConfigError

FILE = """
name: s
base: {num_epochs: 4}
objectives: [{metric: val/mAP}, {metric: latency_ms}]
constraints: {params_millions: <= 30}
space:
  optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}
budget: {trials: 6}
"""


def read(text: str) -> SearchFile:
    return parse_search_file(text.encode(), "s.yaml")


def test_the_first_objective_is_the_main_one() -> None:
    file = read(FILE)
    assert file.objective.metric == "val/mAP"
    assert [one.mode for one in file.objectives] == ["maximize", "minimize"]
    assert file.scheduler.name == "none", "without a scheduler in the file, nobody is stopped"
    assert list_aims(file) == ["latency_ms", "params_millions"]
    assert wanted_costs(file) == ["latency_ms", "params_millions"]
    assert [(one.metric, one.bound) for one in list_constraints(file)] == [("params_millions", 30.0)]
    assert read(file.to_yaml()) == file, "what is written out can be read"


def test_a_file_with_one_objective_measures_nothing() -> None:
    file = read(FILE.replace("objectives: [{metric: val/mAP}, {metric: latency_ms}]\n", "").replace(
        "constraints: {params_millions: <= 30}\n", ""))  # fmt: skip
    assert (list_aims(file), wanted_costs(file)) == ([], [])
    assert file.scheduler.name == "successive_halving"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("{metric: latency_ms}", "", "objectives: got 1; valid: 2 or 3; `objective` is for one"),
        ("{metric: latency_ms}", "{metric: val/mAP}", "objectives: got val/mAP, val/mAP; valid: each metric once"),
        ("{metric: latency_ms}", "{metric: seconds}", "objectives.1.metric: got 'seconds'; valid: one of train/loss"),
        ("{metric: latency_ms}", "{metric: seconds}", "that `plugins` lists; or latency_ms, params_millions, gflops"),
        (
            "{metric: val/mAP}, {metric: latency_ms}",
            "{metric: gflops}, {metric: val/mAP}",
            "objectives.0.metric: got gflo",
        ),
        ("objectives:", "objective: {metric: val/CF1}\nobjectives:", "objective: got one beside `objectives`"),
        (
            "objectives: [{metric: val/mAP}, {metric: latency_ms}]",
            "objective: {metric: latency_ms}",
            "can be a further",
        ),
        (
            "<= 30",
            "'>= 30'",
            "constraints.params_millions: got '>= 30'; valid: an upper bound above 0, such as '<= 30'",
        ),
        ("<= 30", "30", "constraints.params_millions: got 30; valid: "),
        ("<= 30", "<= 1e400", "constraints.params_millions: got '<= 1e400'; valid: an upper bound above 0"),
        ("<= 30", "<= 0", "constraints.params_millions: got '<= 0'; valid: an upper bound above 0"),
        ("<= 30", "null", "constraints.params_millions: got None; valid: an upper bound above 0"),
        ("[{metric: val/mAP}, {metric: latency_ms}]", "5", "objectives: got 5; valid: a list of two or three, such as"),
        (
            "{metric: latency_ms}",
            "latency_ms",
            "objectives: got [{'metric': 'val/mAP'}, 'latency_ms']; valid: a list of",
        ),
        ("[{metric: val/mAP}, {metric: latency_ms}]", "", "objectives: got None; valid: a list of two or three"),
        ("params_millions:", "size:", "constraints: got 'size'; valid: latency_ms, params_millions, gflops"),
        ("budget:", "scheduler: {kind: hyperband}\nbudget:", "scheduler.kind: got hyperband; valid: none with several"),
        ("{trials: 6}", "{trials: 6, patience: 3}", "budget.patience: got 3; valid: no value with several objectives"),
        ("space:", "serving_device: gpu\nspace:", "serving_device: got 'gpu'; valid: 'trial' or 'cpu'"),
        (
            "{metric: latency_ms}",
            "{metric: latency_ms, mode: maximize}",
            "objectives.1.mode: got maximize; valid: minimize for latency_ms, or leave it out",
        ),
        (
            "objectives: [{metric: val/mAP}, {metric: latency_ms}]\n",
            "serving_device: cpu\n",
            "serving_device: got cpu; valid: no value without latency_ms in objectives or constraints",
        ),
    ],
)
def test_what_means_nothing_is_refused(before: str, after: str, words: str) -> None:
    assert before in FILE
    with pytest.raises(ConfigError) as error:
        read(FILE.replace(before, after))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_stopping_early_is_possible_with_one_objective_and_a_constraint() -> None:
    text = FILE.replace("objectives: [{metric: val/mAP}, {metric: latency_ms}]\n", "")
    assert read(text.replace("budget:", "scheduler: {kind: hyperband}\nbudget:")).scheduler.name == "hyperband"


def test_the_front_is_that_of_optuna() -> None:
    points = [list(one) for one in itertools.product([0.1, 0.5, 0.9], [1.0, 2.0], [3.0, 7.0])] + [[0.9, 1.0, 3.0]]
    points += [[0.95, 5.0, 5.0], [0.2, 0.5, 9.0]]
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    for point in points:
        study.add_trial(optuna.create_trial(values=point))
    expected = {trial.number for trial in study.best_trials}
    found = find_front(points, [1, -1, -1])
    assert {place for place, kept in enumerate(found) if kept} == expected
    assert 1 < sum(found) < len(points)


def test_costs_are_no_main_objectives() -> None:
    for name in COSTS:
        with pytest.raises(ConfigError, match="a metric of the training"):
            SearchFile(
                name="s",
                objective={"metric": name},  # type: ignore[arg-type]
                space={"optim.lr": {"kind": "uniform", "low": 0.1, "high": 0.2}},  # type: ignore[dict-item]
                budget={"trials": 2},  # type: ignore[arg-type]
            )
