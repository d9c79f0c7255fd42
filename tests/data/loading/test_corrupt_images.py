"""Corrupt images in training: an error by default; with `skip_corrupt` they are skipped, counted and logged."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from kmcl_platform.data.loading.dataset import CorruptImage, ImageDataset, UnreadableImage
from kmcl_platform.data.loading.loader import build_loader
from kmcl_platform.data.loading.samplers import ShardedShuffle
from kmcl_platform.data.loading.transforms import EvalTransform
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.errors import DataError
from tests.data.fixtures import complaint_of, picture

TRANSFORM = EvalTransform(image_size=16)
NUM = 24
CORRUPT = (3, 4, 17, 23)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """24 training images. Four are cut off, among them two neighbours and the last one."""
    for number in range(NUM):
        picture(tmp_path / f"{number}.png", number)
    for number in CORRUPT:
        path = tmp_path / f"{number}.png"
        path.write_bytes(path.read_bytes()[:300])
    return build_manifest(
        name="m",
        version="1",
        class_names=[f"bit {k}" for k in range(5)],
        splits=["train"] * NUM + ["val"] * 2 + ["test"] * 2,
        images=[*(f"{number}.png" for number in range(NUM)), "0.png", "3.png", "0.png", "3.png"],
        # The targets are the bits of the image's number, so a wrong pair is found.
        targets=np.array([[number >> k & 1 for k in range(5)] for number in [*range(NUM), 0, 3, 0, 3]]),
        root=tmp_path,
    )


def numbers(targets_BK: torch.Tensor) -> list[int]:
    return [int(sum(int(bit) << k for k, bit in enumerate(row))) for row in targets_BK.tolist()]


def test_the_next_readable_image_takes_the_place_with_its_own_targets(manifest: Manifest) -> None:
    dataset = ImageDataset(manifest, "train", TRANSFORM, skip_corrupt=True)
    images_B3HW, targets_BK = dataset.__getitems__([3, 0, 4, 23, 17])
    assert numbers(targets_BK) == [5, 0, 5, 0, 18]
    for image_3HW, number in zip(images_B3HW, [5, 0, 5, 0, 18], strict=True):
        assert torch.equal(image_3HW, dataset[number][0])
    assert dataset.count_skipped() == 4
    dataset.set_epoch(1)
    assert dataset.count_skipped() == 0


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2])
def test_each_epoch_counts_its_own_skipped_images_over_all_workers(
    manifest: Manifest, processes: int, world_size: int
) -> None:
    counts = [0, 0, 0]
    order: dict[int, list[int]] = {}
    for rank in range(world_size):
        dataset = ImageDataset(manifest, "train", TRANSFORM, skip_corrupt=True)
        sampler = ShardedShuffle(NUM, rank=rank, world_size=world_size, seed=1)
        loader = build_loader(dataset, sampler, batch_size=4, drop_last=True, processes=processes, pin_memory=False)
        for epoch in range(3):
            sampler.set_epoch(epoch)
            dataset.set_epoch(1)
            batches = [targets_BK for _, targets_BK in loader]
            assert [len(batch) for batch in batches] == [4] * (NUM // world_size // 4)
            order.setdefault(epoch, []).extend(numbers(torch.cat(batches)))
            counts[epoch] += dataset.count_skipped()
    assert counts == [len(CORRUPT)] * 3
    for taken in order.values():
        assert not set(taken) & set(CORRUPT)
        assert len(taken) == NUM


def test_the_batches_do_not_depend_on_loader_processes(manifest: Manifest) -> None:
    found = []
    for processes in (0, 2):
        dataset = ImageDataset(manifest, "train", TRANSFORM, skip_corrupt=True)
        sampler = ShardedShuffle(NUM, rank=0, world_size=1, seed=1)
        loader = build_loader(dataset, sampler, batch_size=4, drop_last=True, processes=processes, pin_memory=False)
        found.append(torch.cat([images_B3HW for images_B3HW, _ in loader]))
    assert torch.equal(*found)


def test_by_default_a_corrupt_image_is_an_error_that_names_the_file(manifest: Manifest, tmp_path: Path) -> None:
    dataset = ImageDataset(manifest, "train", TRANSFORM)
    with pytest.raises(CorruptImage) as caught:
        dataset.__getitems__([2, 3])
    assert str(caught.value).startswith(
        f"manifest 'm', split 'train', row 3, image {tmp_path / '3.png'}: cannot be read ("
    )
    assert dataset.count_skipped() == 0


def test_a_skipped_image_is_logged_once(manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Image 4 is skipped for its own index and for that of image 3, in every epoch."""
    dataset = ImageDataset(manifest, "train", TRANSFORM, skip_corrupt=True)
    with caplog.at_level(logging.WARNING):
        for epoch in range(2):
            dataset.set_epoch(epoch)
            dataset.__getitems__([3, 4, 5])
    assert {record.name for record in caplog.records} == {"kmcl_platform.data.loading.dataset"}
    first, second = caplog.messages
    assert first.startswith(
        f"corrupt image skipped: manifest 'm', split 'train', row 3, image {tmp_path}/3.png: cannot"
    )
    assert second.startswith(
        f"corrupt image skipped: manifest 'm', split 'train', row 4, image {tmp_path}/4.png: cannot"
    )


def test_an_image_that_a_loader_process_has_logged_is_not_logged_again(
    manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = ImageDataset(manifest, "train", TRANSFORM, skip_corrupt=True)
    sampler = ShardedShuffle(NUM, rank=0, world_size=1, seed=1)
    list(build_loader(dataset, sampler, batch_size=4, drop_last=True, processes=1, pin_memory=False))
    dataset.__getitems__(list(range(NUM)))
    assert dataset.count_skipped() == len(CORRUPT)
    assert caplog.messages == []


@pytest.mark.parametrize("processes", [0, 1])
def test_a_missing_file_is_never_skipped(manifest: Manifest, tmp_path: Path, processes: int) -> None:
    (tmp_path / "6.png").unlink()
    dataset = ImageDataset(manifest, "train", TRANSFORM, skip_corrupt=True)
    sampler = ShardedShuffle(NUM, rank=0, world_size=1, seed=1)
    loader = build_loader(dataset, sampler, batch_size=4, drop_last=True, processes=processes, pin_memory=False)
    error = complaint_of(loader)
    assert re.search(r"row 6, image .*6.png: cannot be read \(FileNotFoundError", str(error))
    assert type(error) is UnreadableImage


def test_the_first_image_is_named_if_no_image_can_be_read(manifest: Manifest, tmp_path: Path) -> None:
    for number in range(NUM):
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="row 5, image .*5.png: cannot be read"):
        ImageDataset(manifest, "train", TRANSFORM, skip_corrupt=True).__getitems__([5])


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_score_is_computed_from_every_image(manifest: Manifest, split: str) -> None:
    with pytest.raises(ValueError, match=f"skip_corrupt: got split '{split}'; valid: 'train'"):
        ImageDataset(manifest, split, TRANSFORM, skip_corrupt=True)
