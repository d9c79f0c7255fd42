"""How busy a GPU was in an epoch, as its driver says: on a machine without one, with functions in its place."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from kmcl_platform.training.workers import resource_usage
from kmcl_platform.training.workers.distributed import Workers
from kmcl_platform.training.workers.resource_usage import UsageMeter

BUSY, MEMORY = "system/gpu_utilization_percentage", "system/gpu_memory_usage_megabytes"


class NVMLError(Exception):
    """What the driver's package raises."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the driver answers, one after the other; an exception is raised."""
    answers: list[Any] = []

    def ask(_device: torch.device) -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    cuda = SimpleNamespace(
        utilization=ask, reset_peak_memory_stats=lambda _: None, max_memory_allocated=lambda _: 5_000_000
    )
    package = ModuleType("pynvml")
    package.NVMLError = NVMLError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynvml", package)
    monkeypatch.setattr(resource_usage, "find_spec", lambda _: object())
    monkeypatch.setattr(resource_usage, "SECONDS_BETWEEN_SAMPLES", 0.0)
    monkeypatch.setattr(
        resource_usage, "torch", SimpleNamespace(cuda=cuda, tensor=lambda values, device: torch.tensor(values))
    )
    return answers


def meter() -> UsageMeter:
    return UsageMeter(Workers(0, 1, torch.device("cuda", 0)), loader_processes=False)


def test_it_is_the_mean_of_what_the_driver_said_in_the_epoch(asked: list[Any]) -> None:
    own = meter()
    for epoch in ([90, 70], [10]):
        asked += epoch
        own.start()
        for _ in epoch:
            own.sample()
        usage = own.usage(8)
        assert usage[BUSY] == pytest.approx(sum(epoch) / len(epoch))
        assert usage[MEMORY] == pytest.approx(5)


def test_without_an_answer_there_is_no_figure(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    own = meter()
    asked.append(NVMLError("not supported"))
    own.sample()
    # It is not asked again.
    own.sample()
    assert BUSY not in own.usage(8) and MEMORY in own.usage(8)
    monkeypatch.setattr(resource_usage, "find_spec", lambda _: None)
    absent = meter()
    absent.sample()
    assert BUSY not in absent.usage(8)


def test_the_driver_is_asked_once_a_second(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource_usage, "SECONDS_BETWEEN_SAMPLES", 60.0)
    own = meter()
    asked += [50, 60]
    for _ in range(100):
        own.sample()
    assert asked == [60]
