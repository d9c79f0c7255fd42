"""Trials whose images are augmented in batches: the same for several workers, when resumed, and with loader processes."""

from pathlib import Path
from typing import Any

import pytest

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.errors import ConfigError
from kmcl_platform.training.probe import probe
from tests.training.trials import ALONE, run

CONFIG = TrialConfig().with_values(
    {
        "data.image_size": 32,
        "data.batch_size": 32,
        "data.augmentation": "released",
        "data.augment_batches": True,
        "model.backbone": "test_byobnet",
        "num_epochs": 2,
    }
)


@pytest.fixture(scope="module")
def manifest(small_manifest: Path) -> Manifest:
    return read_manifest(small_manifest)


def metrics(config: TrialConfig, manifest: Manifest, folder: Path, **options: Any) -> list[dict[str, float]]:
    return [dict(report.metrics) for report in run(config, manifest, folder, **options)]


def test_a_resumed_trial_and_one_with_loader_processes_have_the_same_numbers(
    manifest: Manifest, tmp_path: Path
) -> None:
    undisturbed = metrics(CONFIG, manifest, tmp_path / "undisturbed")
    metrics(CONFIG, manifest, tmp_path / "resumed", stop_after=1)
    assert metrics(CONFIG, manifest, tmp_path / "resumed") == undisturbed
    assert metrics(CONFIG.with_values({"data.loader_processes": 2}), manifest, tmp_path / "processes") == undisturbed
    plain = metrics(
        CONFIG.with_values({"data.augmentation": "none", "data.augment_batches": False}), manifest, tmp_path / "plain"
    )
    assert plain[0]["train/loss"] != undisturbed[0]["train/loss"]


def test_the_plan_measures_them(manifest: Manifest, tmp_path: Path) -> None:
    assert probe(CONFIG, manifest, num_steps=2, scratch=tmp_path / "scratch", workers=ALONE).seconds_per_step > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data.augmentation": "timm"}, "data.augmentation 'timm'; valid: false, or an augmentation for batches: flip, rand_augment, released"),
        ({"data.augmentation": "none"}, "data.augmentation 'none'; valid: false, or"),
        (
            {"model.backbone_mode": "frozen", "model.pretrained": True, "data.views": 2},
            "got true; valid: false with model.backbone_mode frozen",
        ),
    ],
)  # fmt: skip
def test_a_trial_that_cannot_augment_batches_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CONFIG.with_values(values)
