"""Training changes how its process computes with very small floats, and only while it lasts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.training.device import small_floats_are_zero
from kmcl_platform.training.fit import fit
from tests.training.trials import ALONE

VALUES = {"data.image_size": 32, "data.batch_size": 64, "model.backbone": "test_byobnet", "num_epochs": 1}


@pytest.fixture(autouse=True)
def _usual_floats() -> Iterator[None]:
    torch.set_flush_denormal(False)
    yield
    torch.set_flush_denormal(False)


def small_floats_are_kept() -> bool:
    return bool((torch.tensor([1e-310], dtype=torch.float64) * 1 != 0).item())


@pytest.mark.parametrize("before", [True, False])
def test_the_earlier_setting_returns(before: bool) -> None:
    torch.set_flush_denormal(not before)
    with pytest.raises(ValueError, match="inside"), small_floats_are_zero():
        assert not small_floats_are_kept()
        raise ValueError("inside")
    assert small_floats_are_kept() is before


def test_a_trial_leaves_the_process_as_it_was(small_manifest: Path, tmp_path: Path) -> None:
    kept: list[bool] = []

    def report(result: EpochReport) -> bool:
        kept.append(small_floats_are_kept())
        return True

    config = TrialConfig().with_values(VALUES)
    fit(config, read_manifest(small_manifest), checkpoints=tmp_path, report=report, workers=ALONE)
    assert kept == [False], "training itself flushes them"
    assert small_floats_are_kept()
