"""The cache of pixels: the same images to the last bit, read once, and never more than its bound."""

import errno
import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.loading import dataset as dataset_module
from kmcl_platform.data.loading.pixel_cache import open_pixel_cache
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.errors import DataError
from kmcl_platform.training.build import build_dataset
from tests.training.trials import run

COUNT, SIZE = 8, 24
CONFIG = TrialConfig().with_values({"data.image_size": SIZE, "data.cache": "pixels"})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KMCL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pixels"


@pytest.fixture
def pictures(tmp_path: Path) -> Manifest:
    """Photographs of several sizes, one of them large enough to be decoded at half its size for training."""
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        pixels = rng.integers(0, 256, (30 + 9 * number, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((70, 80)).save(tmp_path / f"{number}.jpg")
    return build_manifest(
        name="files",
        version="1",
        class_names=["cat"],
        splits=["train"] * COUNT,
        images=[f"{number}.jpg" for number in range(COUNT)],
        targets=np.arange(COUNT).reshape(-1, 1) % 2,
        root=tmp_path,
    )


def images_of(config: TrialConfig, manifest: Manifest) -> torch.Tensor:
    found = build_dataset(config, manifest, "train", may_cache=True).__getitems__(list(range(COUNT)))[0]
    assert isinstance(found, torch.Tensor)
    return found


def caches(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if len(path.name) == 64]


@pytest.mark.parametrize("augmentation", ["none", "released", "flip"])
def test_images_are_decoded_once_and_have_the_same_pixels(
    augmentation: str, pictures: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.with_values({"data.augmentation": augmentation})
    wanted = images_of(config.with_values({"data.cache": "none"}), pictures)
    assert torch.equal(images_of(config, pictures), wanted)
    monkeypatch.setattr(dataset_module, "decode_pixels", lambda *_, **__: pytest.fail("an image was decoded again"))
    assert torch.equal(images_of(config, pictures), wanted)
    # A loader process gets a pickled copy.
    copy = pickle.loads(pickle.dumps(build_dataset(config, pictures, "train", may_cache=True)))
    assert torch.equal(copy.__getitems__(list(range(COUNT)))[0], wanted)


def test_another_size_background_decoding_or_picture_has_a_cache_of_its_own(
    pictures: Manifest, cache: Path, tmp_path: Path
) -> None:
    first = images_of(CONFIG, pictures)
    for values in ({"data.image_size": 16}, {"data.background": "black"}, {"data.augmentation": "flip"}):
        images_of(CONFIG.with_values(values), pictures)
    Image.fromarray(np.zeros((50, 50, 3), dtype=np.uint8)).save(tmp_path / "3.jpg")
    changed = images_of(CONFIG, pictures)
    assert [torch.equal(a, b) for a, b in zip(first, changed, strict=True)].count(False) == 1
    assert not changed[3].any()
    assert len(caches(cache)) == 5


def test_old_caches_make_room_and_one_that_does_not_fit_is_left_out(
    pictures: Manifest, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = COUNT * SIZE * SIZE * 3
    monkeypatch.setenv("KMCL_CACHE_BYTES", str(2 * one))
    # It stays usable although its folder is removed below.
    held = build_dataset(CONFIG, pictures, "train", may_cache=True)
    (first,) = caches(cache)
    os.utime(first, (1, 1))
    for background in ("black", "#102030"):
        images_of(CONFIG.with_values({"data.background": background}), pictures)
    assert len(caches(cache)) == 2 and first not in caches(cache)
    assert len(held.__getitems__([0, 1])[0]) == 2
    monkeypatch.setenv("KMCL_CACHE_BYTES", str(one - 1))
    with caplog.at_level(logging.WARNING):
        images_of(CONFIG, pictures)
    assert f"pixels are not cached: {one:,} bytes; valid: at most KMCL_CACHE_BYTES={one - 1}" in caplog.text
    assert len(caches(cache)) == 2


def test_on_a_full_disk_images_are_decoded_as_before(
    pictures: Manifest, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with caplog.at_level(logging.WARNING):
        images_of(CONFIG, pictures)
    assert "pixels are not cached" in caplog.text and "No space left on device" in caplog.text
    assert caches(cache) == []


def test_after_a_crash_of_the_machine_only_a_whole_cache_is_believed(pictures: Manifest, cache: Path) -> None:
    wanted = images_of(CONFIG, pictures)
    (folder,) = caches(cache)

    def spoil() -> None:
        (folder / "system").write_text("an earlier start of the system")
        (folder / "pixels").write_bytes(bytes(wanted.numel()))

    spoil()
    assert torch.equal(images_of(CONFIG, pictures), wanted)
    # Every image is in it now, so the next trial finds it whole, and believes it also after a crash.
    images_of(CONFIG, pictures)
    assert (folder / "system").read_text() == "whole"
    (folder / "present").unlink()
    spoil()
    assert torch.equal(images_of(CONFIG, pictures), wanted)


def test_a_corrupt_image_is_not_cached(pictures: Manifest, tmp_path: Path) -> None:
    (tmp_path / "3.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"row 3.*cannot be read"):
        images_of(CONFIG, pictures)
    skipping = CONFIG.with_values({"data.corrupt_images": "skip"})
    for _ in range(2):
        dataset = build_dataset(skipping, pictures, "train", may_cache=True)
        images, _targets = dataset.__getitems__([3, 4])
        assert torch.equal(images[0], images[1]) and dataset.count_skipped() == 1


def test_a_trial_has_the_same_numbers_with_a_cache(tmp_path: Path) -> None:
    manifest = build_digits(num_train=48, num_val=16, num_test=8)
    config = CONFIG.with_values(
        {"data.batch_size": 16, "data.augmentation": "released", "model.backbone": "test_byobnet", "num_epochs": 2}
    )
    plain = run(config.with_values({"data.cache": "none"}), manifest, tmp_path / "plain")
    cached = [run(config, manifest, tmp_path / name) for name in ("first", "second")]
    for reports in cached:
        assert [report.metrics for report in reports] == [report.metrics for report in plain]


def test_a_bound_that_is_no_size_is_one_line(pictures: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMCL_CACHE_BYTES", "much")
    with pytest.raises(DataError, match="^KMCL_CACHE_BYTES: got 'much'; valid: "):
        open_pixel_cache(pictures, "train", size=SIZE, background="white", at_least=None)
