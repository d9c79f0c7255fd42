"""A plan as a terminal and a program see it: rungs, what an archive says of them, and what is trained again."""

import json
from dataclasses import replace

import pytest
from rich.table import Table

from kmcl_platform.config.reports.measurement import Measurement
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.rank_agreement import RankAgreement
from kmcl_platform.search.forecast.costs import Costs, Range
from kmcl_platform.search.forecast.forecast import Forecast
from kmcl_platform.search.plan.measure import MeasuredType
from kmcl_platform.search.plan.plan import SearchPlan
from kmcl_platform.search.plan.plan_table import to_json, to_table
from kmcl_platform.search.plan.probe_points import Corner, TriedCorner

FILE = """
name: s
base: {num_epochs: 10}
space: {loss.temperature: {kind: uniform, low: 0.1, high: 1}}
budget: {trials: 9}
scheduler: {kind: successive_halving, min_epochs: 2, reduction_factor: 3}
finalists: {trials: 2, seeds: 3}
"""
AGREEMENT = {epoch: RankAgreement(epoch / 10, epoch / 10 - 0.1, epoch / 10 + 0.05) for epoch in range(1, 10)}


ONE = Range(low=1.0, expected=1.0, high=1.0)


def plan_of(text: str = FILE) -> SearchPlan:
    one = Range(low=1.0, expected=1.0, high=1.0)
    forecast = Forecast(
        search="s", fingerprint="", concurrency=2, ends_by="budget.trials", epoch_seconds=one, trials=one,
        epochs=Range(low=30, expected=60, high=90), hours=Range(low=1, expected=3, high=5), gpu_hours=one,
        disk_bytes=one, peak_disk_bytes=1.0,
    )  # fmt: skip
    return SearchPlan(parse_search_file(text.encode(), "s.yaml"), [], 2, 2, forecast, 10**9, "", [], AGREEMENT)


def test_each_type_of_gpu_has_a_line() -> None:
    costs = Costs(
        epoch_seconds=Range(low=1, expected=2, high=4), epoch_overhead_seconds=ONE, trial_seconds=ONE,
        checkpoint_bytes=ONE, average_bytes=ONE, start_seconds=1,
    )  # fmt: skip
    types = [MeasuredType("A100", [], 4, 3, costs, ""), MeasuredType("T4", [], 2, None, None, "on T4: no")]
    plan = replace(plan_of(), types=types)
    assert lines_of(plan, "on") == [
        "on A100      2 (1 to 4) s per epoch, 4 at once (3 in memory)",
        "on T4        no corner ran",
    ]
    document = json.loads(to_json([plan]))[0]["types"]
    assert [(one["type"], one["concurrency"]) for one in document] == [("A100", 4), ("T4", 2)]
    assert document[0]["epoch_seconds"]["expected"] == 2
    assert lines_of(plan_of(), "on") == []


def lines_of(plan: SearchPlan, word: str) -> list[str]:
    text = to_table(plan).renderables[1]
    return [line.strip() for line in str(text).splitlines() if line.startswith(f"  {word} ")]


def test_the_agreement_is_shown_at_each_rung() -> None:
    assert lines_of(plan_of(), "agreement") == [
        "agreement    after epoch 2: the order of the archive's trials agrees with that at the end, τ = 0.20 (0.10 to 0.25)",
        "agreement    after epoch 6: the order of the archive's trials agrees with that at the end, τ = 0.60 (0.50 to 0.65)",
    ]
    without_rungs = plan_of(
        FILE.replace("{kind: successive_halving, min_epochs: 2, reduction_factor: 3}", "{kind: adaptive}")
    )
    assert [line.split(":")[0] for line in lines_of(without_rungs, "agreement")] == [
        f"agreement    after epoch {epoch}" for epoch in (1, 2, 4, 8)
    ]
    (document,) = json.loads(to_json([plan_of()]))
    assert document["agreement"]["9"] == AGREEMENT[9]._asdict()


def test_the_cost_is_shown_if_there_is_a_price() -> None:
    plan = plan_of()
    assert lines_of(plan, "money") == [] and plan.forecast is not None
    forecast = plan.forecast.model_copy(update={"money": Range(low=10, expected=20.5, high=30)})
    assert lines_of(replace(plan, forecast=forecast), "money") == ["money        20.5 (10 to 30)"]


@pytest.mark.parametrize(
    ("in_memory", "loss", "line"),
    [
        (0.06, 0.01, "limit        the images: 70 % of a step; more data.loader_processes, data.cache: pixels or"),
        (0.19, 0.15, "limit        the loss: 75 % of a step; fewer model.kernels_per_class or isotropic kernels help"),
        (0.21, 0.02, "limit        the network: 90 % of a step; a smaller network, smaller images or"),
    ],
)
def test_the_plan_says_what_a_step_waits_for(in_memory: float, loss: float, line: str) -> None:
    measured = Measurement(
        device="cpu", setup_seconds=1, seconds_per_step=0.2, seconds_in_memory=in_memory, loss_seconds=loss,
        steps_per_epoch=10, evaluation_seconds=2, checkpoint_seconds=0.5, checkpoint_bytes=100, average_bytes=30,
        peak_bytes=1, first_steps=3, total_seconds=5,
    )  # fmt: skip
    tried = [TriedCorner(Corner(level, {}), measured, "") for level in ("high", "middle", "low")]
    plan = replace(plan_of(), tried=tried)
    (found,) = lines_of(plan, "limit")
    assert found.startswith(line)
    (document,) = json.loads(to_json([plan]))
    assert list(document["corners"][1]["measured"]["limit"]) == [line.split()[2].rstrip(":")]
    assert lines_of(plan_of(), "limit") == []


def test_the_new_trainings_of_finalists_are_counted() -> None:
    # The search has 60 epochs in 3 hours. The finalists have 2 to 4 trials, 3 seeds and 10 epochs.
    assert lines_of(plan_of(), "finalists") == [
        "finalists    2 trials and the two compared ones, on 3 new seeds: 6 to 12 trainings, 60 to 120 epochs, 3 to 6 "
        "hours in addition to the search"
    ]
    assert lines_of(plan_of(FILE.replace("finalists: {trials: 2, seeds: 3}", "")), "finalists") == []


def test_what_the_model_of_a_corner_costs_stands_beside_its_values() -> None:
    measured = Measurement(
        device="cpu", setup_seconds=1, seconds_per_step=1, steps_per_epoch=1, evaluation_seconds=0, checkpoint_seconds=0,
        checkpoint_bytes=1, average_bytes=1, peak_bytes=1, first_steps=1, total_seconds=1,
        model_costs={"params_millions": 11.234},
    )  # fmt: skip
    tried = [
        TriedCorner(Corner("high", {"model.backbone": "a"}), None, "", "params_millions 60 breaks the constraint, x"),
        TriedCorner(Corner("low", {"model.backbone": "b"}), measured, ""),
    ]
    table = to_table(replace(plan_of(), tried=tried)).renderables[0]
    assert isinstance(table, Table)
    assert list(table.columns[-1].cells) == [
        "backbone a: params_millions 60 breaks the constraint, x",
        "backbone b: params_millions 11.2",
    ]


def test_large_checkpoints_are_shown_in_gigabytes() -> None:
    forecast = plan_of().forecast
    assert forecast is not None
    for high, line in ((9e8, "checkpoints  100 (50 to 900) MB"), (5e9, "checkpoints  0.1 (0.05 to 5) GB")):
        held = Range(low=5e7, expected=1e8, high=high)
        plan = replace(plan_of(), forecast=forecast.model_copy(update={"disk_bytes": held}))
        assert lines_of(plan, "checkpoints")[0].startswith(line)
