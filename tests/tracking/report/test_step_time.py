"""The report's sentences about the time of a step."""

from collections.abc import Mapping

from kmcl_platform.config.reports.step_limit import GPU, LOSS, WAITING
from kmcl_platform.config.reports.trial_columns import EPOCH_SECONDS
from kmcl_platform.tracking.report.step_time import describe_step_time


def on_one(*metrics: Mapping[str, float]) -> list[tuple[str, Mapping[str, float]]]:
    return [("A100", one) for one in metrics]


def test_it_names_what_most_trials_wait_for_and_what_helps() -> None:
    slow_disk = [{WAITING: 60.0, LOSS: 5.0}, {WAITING: 50.0, LOSS: 9.0}, {WAITING: 1.0, LOSS: 90.0}, {"val/mAP": 0.5}]
    (line,) = describe_step_time(on_one(*slow_disk), frozen=False)
    assert line.startswith("What limits the speed is the images: 50 % of a step; more data.loader_processes")
    (line,) = describe_step_time(on_one({WAITING: 10.0, LOSS: 20.0}), frozen=False)
    assert line.startswith("What limits the speed is the network: 70 % of a step; a smaller network")
    lines = describe_step_time(on_one({WAITING: 10.0, LOSS: 60.0, GPU: 81.0}), frozen=True)
    assert lines == [
        "What limits the speed is the loss: 60 % of a step; fewer model.kernels_per_class or isotropic kernels help.",
        "The GPUs were busy in 81 % of the time.",
    ]
    # Features are in memory, and a frozen network costs nothing: nothing of the sort would help.
    assert describe_step_time(on_one({WAITING: 0.0, LOSS: 0.0}), frozen=True) == [
        "What limits the speed is the network: 100 % of a step."
    ]


def test_without_measurements_it_says_nothing() -> None:
    assert describe_step_time(on_one({"val/mAP": 0.5}, {WAITING: 3.0}), frozen=False) == []


def test_medians_are_those_of_one_type_of_device() -> None:
    fast = [("A100", {EPOCH_SECONDS: seconds, WAITING: 50.0, LOSS: 5.0}) for seconds in (1.0, 2.0, 30.0)]
    slow = [("T4", {EPOCH_SECONDS: 40.0, WAITING: 0.0, LOSS: 10.0}), ("T4", {EPOCH_SECONDS: 60.0})]
    first, second = describe_step_time([*slow, *fast, ("", {})], frozen=False)
    assert first.startswith("On A100: 3 trials; an epoch took 2 s (median). What limits the speed is the images: 50 %")
    assert second.startswith("On T4: 2 trials; an epoch took 50 s (median). What limits the speed is the network: 90 %")
    assert describe_step_time([*fast, ("", {})], frozen=False)[0].startswith("What limits the speed is the images")
