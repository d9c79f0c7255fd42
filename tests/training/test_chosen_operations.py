"""The operations that a trial chooses: `optim.compile`, `optim.tf32` and `optim.deterministic`."""

import logging
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.training import session
from kmcl_platform.training.device import compile_network
from tests.training.trials import run

CONFIG = TrialConfig().with_values(
    {"data.image_size": 16, "data.batch_size": 16, "model.backbone": "test_byobnet", "num_epochs": 2}
)
COMPILE = nn.Module.compile


def set_backend(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    """The default one translates to C++ and starts a compiler, which takes a minute."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(COMPILE, backend=backend))


def losses(folder: Path, **values: Any) -> list[float]:
    manifest = build_digits(num_train=48, num_val=16, num_test=8)
    config = CONFIG.with_values({f"optim.{name}": value for name, value in values.items()})
    return [report.metrics["train/loss"] for report in run(config, manifest, folder)]


def test_a_compiled_network_trains_to_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def count(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
        calls.append(len(list(graph.graph.nodes)))
        return graph.forward

    set_backend(monkeypatch, count)
    plain = losses(tmp_path / "plain")
    assert not calls
    assert losses(tmp_path / "compiled", compile=True) == pytest.approx(plain, rel=1e-5)
    assert calls, "nothing was compiled"


def test_a_trial_goes_on_if_its_network_cannot_be_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_graph: torch.fx.GraphModule, _inputs: Any) -> Any:
        raise RuntimeError("no compiler\nwas found")

    set_backend(monkeypatch, fail)
    plain = losses(tmp_path / "plain")
    with caplog.at_level(logging.WARNING):
        assert losses(tmp_path / "compiled", compile=True) == plain
    [line] = [record.message for record in caplog.records if "optim.compile" in record.message]
    assert "no compiler was found" in line and "\n" not in line


def test_an_error_of_the_network_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    set_backend(monkeypatch, "eager")

    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("seven features, not six")

    network = Broken()
    compile_network(network)
    with pytest.raises(ValueError, match="seven features"):
        network(torch.ones(1))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (False, True, "highest")),
        ({"deterministic": True}, (True, False, "highest")),
        ({"tf32": True}, (False, True, "high")),
    ],
)
def test_the_operations_of_a_trial_are_chosen_for_it_alone(
    values: dict[str, bool], expected: tuple[bool, bool, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look() -> tuple[bool, bool, str]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.get_float32_matmul_precision(),
        )

    before = look()
    validate = session.TrainingSession.validate

    def watch(own: session.TrainingSession, epoch: int) -> dict[str, float]:
        seen.append(look())
        return validate(own, epoch)

    monkeypatch.setattr(session.TrainingSession, "validate", watch)
    losses(tmp_path, **values)
    assert set(seen) == {expected}
    assert look() == before
