"""Where features come from: random changes of pictures (views), and a user's own file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.training.build import build_backbone, build_dataset
from kmcl_platform.training.features import cache
from kmcl_platform.training.features.sources import FileSource
from tests.training.features.frozen import frozen_config, write_weights
from tests.training.features.test_cache import all_features, computed as computed, open_split
from tests.training.trials import ALONE


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.safetensors")


def test_views_are_the_augmentations_of_so_many_epochs(
    weights: Path, small_manifest: Path, tmp_path: Path, computed: list[str]
) -> None:
    manifest = read_manifest(small_manifest)
    config = frozen_config(weights, data__augmentation="torchvision", data__views=2)
    found = open_split(config, manifest, tmp_path)
    backbone, images = build_backbone(config).eval(), build_dataset(config, manifest, "train")
    with torch.no_grad():
        expected = []
        for view in (0, 1):
            images.set_epoch(view)
            expected.append(backbone(images.__getitems__([0, 1, 2, 3])[0]))
    for epoch in (1, 2, 3):
        found.set_epoch(epoch)
        features, _ = found.__getitems__([0, 1, 2, 3])
        for row in range(4):
            assert torch.allclose(features[row], expected[(epoch + row) % 2][row], atol=1e-5), (epoch, row)
    assert not torch.allclose(*expected)
    # Another trial's seed shares the views. The validation split has none.
    open_split(config.with_values({"seed": 5}), manifest, tmp_path)
    open_split(config, manifest, tmp_path, "val")
    open_split(frozen_config(weights), manifest, tmp_path, "val")
    assert computed == ["train", "val"]
    open_split(config.with_values({"data.views": 1}), manifest, tmp_path)
    assert computed == ["train", "val", "train"]


def test_own_features_are_taken_by_split_and_a_changed_file_is_read_again(
    small_manifest: Path, tmp_path: Path, computed: list[str]
) -> None:
    manifest, file = read_manifest(small_manifest), tmp_path / "own.npy"
    own_ND = np.random.default_rng(0).normal(size=(manifest.table.num_rows, 6)).astype(np.float32)
    np.save(file, own_ND)
    config = TrialConfig().with_values({"model.backbone_mode": "frozen", "data.features": str(file)})

    def open_own(split: str) -> torch.Tensor:
        source = FileSource(config, manifest, split, folder=tmp_path)
        return all_features(cache.open_features(source, ALONE, tmp_path))

    rows_N = np.flatnonzero(np.array(manifest.table["split"].to_pylist()) == "val")
    for _ in range(2):
        assert np.array_equal(open_own("val").numpy(), own_ND[rows_N])
    assert computed == ["val"]
    np.save(file, -own_ND)
    assert np.array_equal(open_own("val").numpy(), -own_ND[rows_N])
    assert len(open_own("train")) == 192
