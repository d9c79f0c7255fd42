"""What a user's own training reports is checked before anything is recorded."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from kmcl_platform import KmclError, LogUniform, SearchFile, Store, open_search
from kmcl_platform.plugins.metric import is_metric_name
from kmcl_platform.search.run.asked_point import AskedPoint
from kmcl_platform.search.run.own_training import OpenSearch

PARTS: dict[str, Any] = {
    "name": "mine",
    "objective": {"metric": "accuracy"},
    "base": {"own": {"lr": 1e-3}, "num_epochs": 4},
    "space": {"own.lr": LogUniform(low=1e-5, high=0.1)},
    "budget": {"trials": 2},
    "scheduler": {"kind": "none"},
}
BAD_NAMES = ["", ".", "..", "../a", "/a", "a/", "a//b", "a/../b", "a\nb", "..a", " ", "x" * 251, "a/./b", "a,b"]


@pytest.fixture
def opened(prepared_store: Path) -> Iterator[OpenSearch]:
    with open_search(SearchFile(**PARTS), store=prepared_store, console=Console(file=io.StringIO())) as search:
        yield search


def refusal(point: AskedPoint, *words: Any, **more: Any) -> str:
    with pytest.raises(KmclError) as refused:
        point.report(*words, **more)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_nothing_wrong_is_recorded(opened: OpenSearch, prepared_store: Path) -> None:
    point = next(opened.ask())
    for name in [*BAD_NAMES, "epochs", "objective", 1]:
        assert refusal(point, 1, 0.5, {name: 1.0}).startswith(f"trial 0: metrics: got {name!r}"[:60])
    for epoch in ("1", None, True, 1.5, 0, [1], float("nan")):
        assert refusal(point, epoch, 0.5) == f"trial 0: epoch: got {epoch!r}; valid: a whole number from 1 to 4"
    for value in ("abc", "0.5", None, [1], 1j, True, torch.ones(2), np.ones(2), 10**400, b"1"):
        assert refusal(point, 1, value).endswith("; valid: one number")
        assert refusal(point, 1, 0.5, {"a": value}).startswith("trial 0: metrics: a: got ")
    for metrics in ("abc", [1], 3):
        assert "trial 0: metrics: got " in refusal(point, 1, 0.5, metrics)
    assert refusal(point, 1, 0.5, seconds="a").startswith("trial 0: seconds: got 'a'")
    for reason in (None, 3):
        with pytest.raises(KmclError, match=rf"^trial 0: reason: got {reason}; valid: text, such as str\(error\)$"):
            point.fail(reason)  # type: ignore[arg-type]
    # The numbers of other packages are numbers.
    assert not point.report(np.int64(1), torch.tensor(0.25), {"a": np.float32(1.5)})
    # Epochs may be left out, and come in their order.
    assert not point.report(3, 0.5)
    for epoch in (1, 3):
        assert refusal(point, epoch, 0.5).endswith("; valid: a later one than 3, which was reported last")
    assert point.report(4, 0.75)
    assert Store(prepared_store).study("mine").trials[0].intermediate_values == {1: 0.25, 3: 0.5, 4: 0.75}
    for at_once in (0, -1, "a", None, True, 1.5):
        with pytest.raises(KmclError, match="^at_once: got .*; valid: a whole number of at least 1$"):
            next(opened.ask(at_once))  # type: ignore[arg-type]
    next(opened.ask()).tell(0.5)


@pytest.mark.parametrize("name", [*BAD_NAMES, "epochs", "wall_seconds", "rank", "reason"])
def test_names_that_no_objective_may_have(name: str) -> None:
    with pytest.raises(KmclError, match=r"^SearchFile\.objective\.metric: got .*; valid: ") as refused:
        SearchFile(**PARTS | {"objective": {"metric": name}})
    assert "\n" not in str(refused.value)


def test_mlflow_takes_every_name_that_is_taken_here() -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.utils.validation import _validate_metric_name

    good = ["a", "é", "val/mAP", "a:b", "a b", ".a", "a..b", "-", "x" * 250, "a/b.c/d e"]
    assert all(map(is_metric_name, good)) and not any(map(is_metric_name, BAD_NAMES))
    for name in good:
        _validate_metric_name(name)
    for name in ("../a", "/a", "a//b", ".", "a/", "..a"):
        with pytest.raises(MlflowException):
            _validate_metric_name(name)
