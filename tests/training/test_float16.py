"""Trials in float16, as on a GPU without bfloat16: their checkpoints, and those of other devices."""

from pathlib import Path

import pytest
import torch

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.training import session
from kmcl_platform.training.checkpoints.checkpoint_folder import OPTIMIZER, find_checkpoint
from kmcl_platform.training.device import Precision
from tests.training.trials import run

CONFIG = TrialConfig().with_values(
    {"data.image_size": 16, "data.batch_size": 16, "model.backbone": "test_byobnet", "num_epochs": 3}
)
FLOAT32, FLOAT16 = Precision("cpu"), Precision("cpu", torch.float16)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return build_digits(num_train=64, num_val=16, num_test=8)


def train(
    precision: Precision, manifest: Manifest, folder: Path, patch: pytest.MonkeyPatch, *, stop_after: int = 99
) -> dict[str, float]:
    """The metrics of the last epoch."""
    patch.setattr(session, "choose_precision", lambda *_, **__: precision)
    return dict(run(CONFIG, manifest, folder, stop_after=stop_after)[-1].metrics)


def scaler_state(folder: Path) -> dict[str, float]:
    checkpoint = find_checkpoint(folder)
    assert checkpoint is not None
    state: dict[str, float] = torch.load(checkpoint / OPTIMIZER, weights_only=True)["scaler"]
    return state


def test_a_resumed_trial_in_float16_has_the_numbers_of_an_undisturbed_one(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A scale that is far too large: the first steps are skipped and lower it, so that it is a state worth keeping.
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *args, **kwargs: scaler(*args, init_scale=2.0**40, **kwargs))
    wanted = train(FLOAT16, manifest, tmp_path / "whole", monkeypatch)
    train(FLOAT16, manifest, tmp_path / "trial", monkeypatch, stop_after=1)
    assert scaler_state(tmp_path / "trial")["scale"] < 2.0**40
    assert train(FLOAT16, manifest, tmp_path / "trial", monkeypatch) == wanted
    assert scaler_state(tmp_path / "trial") == scaler_state(tmp_path / "whole")


@pytest.mark.parametrize(("first", "second"), [(FLOAT32, FLOAT16), (FLOAT16, FLOAT32)])
def test_a_trial_continues_on_a_device_of_another_type(
    first: Precision, second: Precision, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(first, manifest, tmp_path, monkeypatch, stop_after=1)
    assert bool(scaler_state(tmp_path)) is first.needs_scaling
    whole = train(first, manifest, tmp_path / "whole", monkeypatch)
    assert train(second, manifest, tmp_path, monkeypatch)["train/loss"] == pytest.approx(whole["train/loss"], rel=0.05)
