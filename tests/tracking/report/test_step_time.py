"""The report's sentences about the time of a step."""

from kmcl_platform.config.reports.step_limit import GPU, LOSS, WAITING
from kmcl_platform.tracking.report.step_time import describe_step_time


def test_it_names_what_most_trials_wait_for_and_what_helps() -> None:
    slow_disk = [{WAITING: 60.0, LOSS: 5.0}, {WAITING: 50.0, LOSS: 9.0}, {WAITING: 1.0, LOSS: 90.0}, {"val/mAP": 0.5}]
    (line,) = describe_step_time(slow_disk, frozen=False)
    assert line.startswith("What limits the speed is the images: 50 % of a step; more data.loader_processes")
    (line,) = describe_step_time([{WAITING: 10.0, LOSS: 20.0}], frozen=False)
    assert line.startswith("What limits the speed is the network: 70 % of a step; a smaller network")
    lines = describe_step_time([{WAITING: 10.0, LOSS: 60.0, GPU: 81.0}], frozen=True)
    assert lines == [
        "What limits the speed is the loss: 60 % of a step; fewer model.kernels_per_class or isotropic kernels help.",
        "The GPUs were busy in 81 % of the time.",
    ]
    # Features are in memory, and a frozen network costs nothing: nothing of the sort would help.
    assert describe_step_time([{WAITING: 0.0, LOSS: 0.0}], frozen=True) == [
        "What limits the speed is the network: 100 % of a step."
    ]


def test_without_measurements_it_says_nothing() -> None:
    assert describe_step_time([{"val/mAP": 0.5}, {WAITING: 3.0}], frozen=False) == []
