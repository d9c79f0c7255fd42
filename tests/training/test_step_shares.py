"""The shares of an epoch's training time that go to images and to the loss, with a clock that the test sets."""

import math
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from kmcl_platform.config.reports.step_limit import LOSS, WAITING
from kmcl_platform.training.workers import resource_usage
from kmcl_platform.training.workers.distributed import Workers
from kmcl_platform.training.workers.resource_usage import UsageMeter


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_waiting_is_the_time_until_a_batch_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(resource_usage, "time", SimpleNamespace(monotonic=clock.monotonic))
    meter = UsageMeter(Workers(0, 1, torch.device("cpu")), loader_processes=False)

    def loader() -> Iterator[int]:
        for number in range(4):
            clock.now += 3
            yield number
        clock.now += 2  # the end of a loader takes time too

    for epoch in range(2):
        meter.start()
        taken = []
        for batch in meter.waiting(loader()):
            taken.append(batch)
            clock.now += 5
        meter.training_ends(loss_seconds=8.5)
        clock.now += 40  # the evaluation
        usage = meter.usage(1)
        assert taken == [0, 1, 2, 3]
        assert usage[WAITING] == pytest.approx(100 * 14 / 34), epoch
        assert usage[LOSS] == pytest.approx(25)


def test_what_was_not_measured_is_left_out() -> None:
    meter = UsageMeter(Workers(0, 1, torch.device("cpu")), loader_processes=False)
    assert not {WAITING, LOSS} & set(meter.usage(1))
    meter.training_ends(loss_seconds=math.nan)
    assert WAITING in meter.usage(1)
    assert LOSS not in meter.usage(1)
