"""A dataset: its batches, its errors and its loader."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.loading.dataset import ImageDataset
from kmcl_platform.data.loading.loader import build_loader, identity
from kmcl_platform.data.loading.samplers import ShardedSequence, ShardedShuffle
from kmcl_platform.data.loading.transforms import EvalTransform, TrainTransform
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.errors import DataError
from kmcl_platform.plugins import Augmentation, find_component
from tests.data.fixtures import complaint_of

TRANSFORM = EvalTransform(image_size=40)


@pytest.fixture(scope="module")
def digits() -> Manifest:
    return build_digits(num_train=30, num_val=0, num_test=10)


def files_manifest(root: Path, names: list[str]) -> Manifest:
    return build_manifest(
        name="files",
        version="1",
        class_names=["cat"],
        splits=["train", *["test"] * (len(names) - 1)],
        images=names,
        targets=np.arange(len(names)).reshape(-1, 1) % 2,
        root=root,
    )


def grey(level: int) -> Image.Image:
    return Image.fromarray(np.full((40, 40), level, dtype=np.uint8))


def test_a_batch_and_single_items_are_the_same_images(digits: Manifest) -> None:
    dataset = ImageDataset(digits, "train", TRANSFORM)
    assert len(dataset) == 30
    images_B3HW, targets_BK = dataset.__getitems__([4, 0, 29])
    assert images_B3HW.shape == (3, 3, 40, 40)
    assert targets_BK.dtype == torch.int8
    assert targets_BK.tolist() == digits.targets("train")[[4, 0, 29]].tolist()
    image_3HW, targets_K = dataset[29]
    assert torch.equal(image_3HW, images_B3HW[2])
    assert torch.equal(targets_K, targets_BK[2])
    assert not torch.equal(images_B3HW[0], images_B3HW[1])


def test_relative_and_absolute_paths_are_read(tmp_path: Path) -> None:
    grey(10).save(tmp_path / "a.png")
    (tmp_path / "sub").mkdir()
    grey(20).save(tmp_path / "sub" / "b.png")
    grey(30).save(tmp_path / "c.png")
    dataset = ImageDataset(files_manifest(tmp_path, ["a.png", "sub/b.png", str(tmp_path / "c.png")]), "test", TRANSFORM)
    images_B3HW, targets_BK = dataset.__getitems__([0, 1])
    assert images_B3HW[:, 0, 0, 0].tolist() == [20, 30]
    assert targets_BK.tolist() == [[1], [0]]


@pytest.mark.parametrize("fault", ["missing", "text", "truncated", "folder"])
@pytest.mark.parametrize("processes", [0, 1])
def test_unreadable_image_names_its_row(tmp_path: Path, fault: str, processes: int) -> None:
    grey(10).save(tmp_path / "a.png")
    bad = tmp_path / "bad.png"
    if fault == "text":
        bad.write_text("not an image")
    elif fault == "truncated":
        bad.write_bytes((tmp_path / "a.png").read_bytes()[:-30])
    elif fault == "folder":
        bad.mkdir()
    dataset = ImageDataset(files_manifest(tmp_path, ["a.png", "a.png", "bad.png"]), "test", TRANSFORM)
    sampler = ShardedSequence(len(dataset), rank=0, world_size=1)
    loader = build_loader(dataset, sampler, batch_size=2, drop_last=False, processes=processes, pin_memory=False)
    text = str(complaint_of(loader))
    assert text.startswith(f"manifest 'files', split 'test', row 1, image {bad}: cannot be read (")
    assert text.endswith("); valid: an image file")
    assert "\n" not in text


def test_unreadable_bytes_name_their_row(digits: Manifest) -> None:
    encoded = digits.split("test")["bytes"].to_pylist()[:2] + [b"\x89PNG\r\n\x1a\nxx"]
    targets = digits.targets("test")[:3]
    manifest = build_manifest(
        name="m", version="1", class_names=digits.class_names, splits=["val"] * 3, images=encoded, targets=targets
    )
    with pytest.raises(DataError, match="^manifest 'm', split 'val', row 2, image 10 bytes: cannot be read"):
        ImageDataset(manifest, "val", TRANSFORM).__getitems__([0, 2])


def test_an_empty_split_is_refused(digits: Manifest) -> None:
    with pytest.raises(DataError, match="^manifest 'digits': split 'val' has no images; valid: one or more$"):
        ImageDataset(digits, "val", TRANSFORM)


def test_a_pickled_dataset_contains_only_its_split(digits: Manifest) -> None:
    dataset = ImageDataset(digits, "test", TRANSFORM)
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 10 * 1708 + 5000
    assert torch.equal(pickle.loads(pickled)[3][0], dataset[3][0])


@pytest.mark.parametrize("processes", [0, 2])
def test_the_loader_gives_whole_batches(digits: Manifest, processes: int) -> None:
    dataset = ImageDataset(digits, "train", TRANSFORM)
    sampler = ShardedShuffle(len(dataset), rank=0, world_size=1, seed=0)
    loader = build_loader(dataset, sampler, batch_size=8, drop_last=True, processes=processes, pin_memory=False)
    state = torch.get_rng_state()
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = list(loader)
        assert [len(images_B3HW) for images_B3HW, _ in batches] == [8, 8, 8]
        expected = digits.targets("train")[list(sampler)[:24]]
        np.testing.assert_array_equal(torch.cat([targets_BK for _, targets_BK in batches]).numpy(), expected)
    assert torch.equal(torch.get_rng_state(), state)
    everything = build_loader(
        dataset,
        ShardedSequence(len(dataset), rank=0, world_size=1),
        batch_size=8,
        drop_last=False,
        processes=0,
        pin_memory=False,
    )
    assert [len(targets_BK) for _, targets_BK in everything] == [8, 8, 8, 6]


def test_identity_returns_its_argument() -> None:
    batch = (torch.zeros(1), torch.ones(1))
    assert identity(batch) is batch


@pytest.mark.parametrize("augmentation", ["flip", "released", "timm", "torchvision"])
def test_augmentation_depends_only_on_epoch_and_image(digits: Manifest, augmentation: str) -> None:
    transform = TrainTransform(image_size=40, augment=find_component(Augmentation, augmentation)().build(), seed=3)

    def images(epoch: int, *, processes: int, batch_size: int) -> torch.Tensor:
        dataset = ImageDataset(digits, "train", transform)
        sampler = ShardedSequence(len(dataset), rank=0, world_size=1)
        loader = build_loader(
            dataset, sampler, batch_size=batch_size, drop_last=False, processes=processes, pin_memory=False
        )
        for past in range(epoch + 1):
            dataset.set_epoch(past)
            batches = list(loader)
        return torch.cat([images_B3HW for images_B3HW, _ in batches])

    one = images(1, processes=0, batch_size=8)
    assert torch.equal(one, images(1, processes=2, batch_size=5))
    assert not torch.equal(one, images(0, processes=0, batch_size=8))
