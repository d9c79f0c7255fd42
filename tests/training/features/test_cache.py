"""The cache of features: computed once, shared, and never used for other pictures."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.loading.feature_dataset import FeatureDataset
from kmcl_platform.data.manifest import picture_digest
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.errors import DataError, StoreError
from kmcl_platform.training.build import build_backbone, build_dataset
from kmcl_platform.training.features import cache, sources
from kmcl_platform.training.features.backbone_weights import store_backbone
from kmcl_platform.training.features.sources import BackboneSource, FeatureSource
from kmcl_platform.training.workers.distributed import Workers
from tests.training.features.frozen import frozen_config, picture_files, write_weights
from tests.training.test_corrupt_images import damaged
from tests.training.trials import ALONE


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.safetensors")


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits whose features are computed from now on."""
    splits: list[str] = []
    compute = cache._compute

    def watched(source: FeatureSource, *arguments: object) -> None:
        splits.append(source.split)
        compute(source, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "_compute", watched)
    return splits


def open_split(
    config: TrialConfig, manifest: Manifest, folder: Path, split: str = "train", workers: Workers = ALONE
) -> FeatureDataset:
    digest = store_backbone(config, folder)
    source = BackboneSource(config, manifest, split, backbone=digest, folder=folder)
    return cache.open_features(source, workers, folder)


def all_features(dataset: FeatureDataset) -> torch.Tensor:
    return dataset.__getitems__(list(range(len(dataset))))[0]


def test_features_are_the_backbones_and_are_computed_once(
    weights: Path, small_manifest: Path, tmp_path: Path, computed: list[str]
) -> None:
    config, manifest = frozen_config(weights), read_manifest(small_manifest)
    found = all_features(open_split(config, manifest, tmp_path))
    images, targets = build_dataset(config, manifest, "train").__getitems__(list(range(len(found))))
    with torch.no_grad():
        expected = build_backbone(config).eval()(images)
    assert torch.allclose(found, expected, atol=1e-5)
    again = open_split(config, manifest, tmp_path)
    features, labels = again.__getitems__([5, 3])
    assert torch.equal(features, found[[5, 3]])
    assert torch.equal(labels, targets[[5, 3]])
    assert computed == ["train"]


def test_what_decides_the_features_decides_the_key(
    weights: Path, small_manifest: Path, tmp_path: Path, computed: list[str]
) -> None:
    config, manifest = frozen_config(weights), read_manifest(small_manifest)
    first = all_features(open_split(config, manifest, tmp_path, "val"))
    others = [
        config.with_values({"data.image_size": 40}),
        config.with_values({"data.background": "black"}),
        config.with_values({"model.feature_dtype": "float16"}),
        config.with_values({"model.pretrained_file": str(write_weights(tmp_path / "other.safetensors", seed=1))}),
    ]
    for number, other in enumerate(others, start=2):
        open_split(other, manifest, tmp_path, "val")
        assert len(computed) == number
    half = all_features(open_split(others[2], manifest, tmp_path, "val"))
    assert half.dtype == torch.float32
    assert torch.allclose(half, first, rtol=1e-3, atol=1e-4)
    # What follows the features does not decide them; a trial may replace corrupt images in `train` only.
    same = {"model.projection_width": 8, "optim.lr": 1e-3, "data.batch_size": 16, "data.corrupt_images": "skip"}
    open_split(config.with_values(same), manifest, tmp_path, "val")
    assert len(computed) == len(others) + 1


def test_other_labels_need_no_other_features(
    weights: Path, small_manifest: Path, tmp_path: Path, computed: list[str]
) -> None:
    config, manifest = frozen_config(weights), picture_files(small_manifest, tmp_path / "pictures")
    open_split(config, manifest, tmp_path / "features")
    targets = manifest.targets("train")
    table = manifest.table.set_column(2, "targets", manifest.table["targets"].take(list(range(40))[::-1]))
    changed = open_split(config, replace(manifest, table=table), tmp_path / "features")
    assert computed == ["train"]
    labels = changed.__getitems__(list(range(20)))[1].numpy()
    assert not np.array_equal(labels, targets)


@pytest.mark.parametrize("settled", [-1.0, 1e6])
def test_pictures_that_were_changed_get_new_features(
    settled: float,
    weights: Path,
    small_manifest: Path,
    tmp_path: Path,
    computed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if size and time of modification are as before, with a kept digest (-1) and without one (1e6)."""
    monkeypatch.setattr(picture_digest, "_SETTLED_SECONDS", settled)
    config, manifest = frozen_config(weights), picture_files(small_manifest, tmp_path / "pictures")
    folder = tmp_path / "features"
    before = all_features(open_split(config, manifest, folder))
    open_split(config, manifest, folder)
    assert computed == ["train"]
    assert (folder / "pictures").exists() == (settled < 0)
    picture = tmp_path / "pictures" / "train-3.png"
    other = (tmp_path / "pictures" / "train-4.png").read_bytes()
    # A PNG may have bytes after its end. Both files get the same size before the first features of this part.
    size = max(len(other), picture.stat().st_size)
    picture.write_bytes(picture.read_bytes().ljust(size, b"\0"))
    open_split(config, manifest, folder)
    then = picture.stat()
    while picture.stat().st_ctime_ns == then.st_ctime_ns:
        picture.write_bytes(other.ljust(size, b"\0"))
        os.utime(picture, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert (picture.stat().st_size, picture.stat().st_mtime_ns) == (then.st_size, then.st_mtime_ns)
    after = all_features(open_split(config, manifest, folder))
    assert torch.allclose(after[3], before[4])
    assert not torch.allclose(after[3], before[3])


def test_pictures_that_change_while_they_are_read_are_an_error(
    weights: Path, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, manifest = frozen_config(weights), picture_files(small_manifest, tmp_path / "pictures")
    load = sources.load_backbone

    def change(*arguments: object) -> object:
        (tmp_path / "pictures" / "train-0.png").write_bytes(manifest.encoded_image("train", 1))
        return load(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sources, "load_backbone", change)
    with pytest.raises(DataError, match="^manifest 'files', split 'train': pictures were changed while"):
        open_split(config, manifest, tmp_path / "features")
    assert [path.suffix for path in (tmp_path / "features" / "splits").iterdir()] == [".lock"]


def test_a_picture_that_is_missing_is_named(weights: Path, small_manifest: Path, tmp_path: Path) -> None:
    config, manifest = frozen_config(weights), picture_files(small_manifest, tmp_path / "pictures")
    (tmp_path / "pictures" / "train-7.png").unlink()
    with pytest.raises(
        DataError, match="^manifest 'files', split 'train', row 7, image .*/train-7.png: cannot be read"
    ):
        open_split(config, manifest, tmp_path / "features")


def test_damaged_features_and_drafts_of_killed_processes_are_replaced(
    weights: Path, small_manifest: Path, tmp_path: Path, computed: list[str]
) -> None:
    config, manifest = frozen_config(weights), read_manifest(small_manifest)
    first = all_features(open_split(config, manifest, tmp_path)).clone()
    (folder,) = (path for path in (tmp_path / "splits").iterdir() if path.is_dir())
    os.truncate(folder / "features.npy", 1000)
    draft = folder.with_name(f".writing-{folder.name}-1-abcd")
    draft.mkdir()
    assert torch.equal(all_features(open_split(config, manifest, tmp_path)), first)
    assert computed == ["train", "train"]
    assert not draft.exists()


def test_features_that_are_not_finite_are_refused(weights: Path, small_manifest: Path, tmp_path: Path) -> None:
    config, manifest = frozen_config(weights, model__feature_dtype="float16"), read_manifest(small_manifest)
    backbone = build_backbone(config)
    with torch.no_grad():
        for parameter in list(backbone.network.parameters())[-2:]:
            parameter.fill_(1e6)
    huge = tmp_path / "huge.pth"
    torch.save(backbone.network.state_dict(), huge)
    with pytest.raises(
        DataError, match="split 'train': the features of test_byobnet are not finite as float16; valid: "
    ):
        open_split(config.with_values({"model.pretrained_file": str(huge)}), manifest, tmp_path)
    assert not [path for path in (tmp_path / "splits").iterdir() if path.is_dir()]


def test_a_full_disk_is_the_stores_error(
    weights: Path, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(StoreError, match="^no space left in "):
        open_split(frozen_config(weights), read_manifest(small_manifest), tmp_path)
    assert not [path for path in (tmp_path / "splits").iterdir() if path.is_dir()]


def test_a_replaced_image_has_the_features_and_labels_of_the_one_that_replaces_it(
    weights: Path, tmp_path: Path
) -> None:
    manifest = damaged(5, 6)
    config = frozen_config(weights, data__corrupt_images="skip")
    dataset = open_split(config, manifest, tmp_path)
    dataset.set_epoch(1)
    features, targets = dataset.__getitems__([5, 6, 7])
    assert torch.equal(features[0], features[2]) and torch.equal(features[1], features[2])
    assert torch.equal(targets, torch.from_numpy(manifest.targets("train").copy())[[7, 7, 7]])
    assert dataset.count_skipped() == 2
    dataset.set_epoch(2)
    assert dataset.count_skipped() == 0
    with pytest.raises(DataError, match="^manifest 'm', split 'train', row 5, image 90 bytes: cannot be read"):
        open_split(frozen_config(weights), manifest, tmp_path)
