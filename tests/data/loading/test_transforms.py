"""The transforms of decoded images into a batch."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from kmcl_platform.components.augmentations import MODULES
from kmcl_platform.data.loading.transforms import EvalTransform, TrainTransform, resize
from kmcl_platform.plugins import Augmentation, find_component

NAMED = {name: find_component(Augmentation, name) for name in MODULES if name != "none"}


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [(40, 40), (64, 30), (20, 20), (500, 375)])
def test_images_are_resized_as_pillow_does_it(size: tuple[int, int]) -> None:
    pixels = picture(size)
    expected = np.asarray(Image.fromarray(pixels).resize((40, 40), Image.Resampling.BILINEAR)).astype(int)
    difference = np.abs(resize(pixels, 40) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02


def test_resizing_keeps_the_order_of_memory() -> None:
    assert resize(picture((64, 30)), 40).flags.c_contiguous


def test_a_batch_is_bytes_with_channels_last() -> None:
    batch = EvalTransform(image_size=40)([picture((64, 30), seed) for seed in range(3)])
    assert batch.shape == (3, 3, 40, 40)
    assert batch.dtype == torch.uint8
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_images_of_a_batch_do_not_affect_each_other() -> None:
    transform = EvalTransform(image_size=16)
    images = [picture((16, 16)), picture((30, 20))]
    batch = transform(images)
    for i, image in enumerate(images):
        assert torch.equal(batch[i], transform([image])[0])


@pytest.mark.parametrize("size", [0, -1])
def test_invalid_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="valid: "):
        EvalTransform(image_size=size)
    with pytest.raises(ValueError, match="valid: "):
        TrainTransform(image_size=size, augment=NAMED["released"]().build(), seed=0)


@pytest.mark.parametrize("augmentation", NAMED)
class TestAugmentation:
    images = tuple(picture((24, 24), seed) for seed in range(6))
    keys = tuple((1, index) for index in range(6))

    def augmented(self, augmentation: str, seed: int = 0, epoch: int = 1) -> torch.Tensor:
        transform = TrainTransform(image_size=24, augment=NAMED[augmentation]().build(), seed=seed)
        return transform([image.copy() for image in self.images], [(epoch, index) for _, index in self.keys])

    def test_draws_depend_on_seed_epoch_and_index(self, augmentation: str) -> None:
        one = self.augmented(augmentation)
        assert torch.equal(one, self.augmented(augmentation))
        assert not torch.equal(one, self.augmented(augmentation, seed=1))
        assert not torch.equal(one, self.augmented(augmentation, epoch=2))
        transform = TrainTransform(image_size=24, augment=NAMED[augmentation]().build(), seed=0)
        assert torch.equal(one[4:], transform([image.copy() for image in self.images[4:]], self.keys[4:]))

    def test_most_images_are_changed(self, augmentation: str) -> None:
        plain = EvalTransform(image_size=24)(self.images)
        changed = (self.augmented(augmentation) != plain).flatten(1).any(1)
        assert int(changed.sum()) >= 4

    def test_equal_images_get_different_draws(self, augmentation: str) -> None:
        transform = TrainTransform(image_size=24, augment=NAMED[augmentation]().build(), seed=0)
        batch = transform([self.images[0].copy() for _ in self.keys], self.keys)
        assert not torch.equal(batch[:1].expand_as(batch), batch)

    def test_random_states_are_restored(self, augmentation: str) -> None:
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)
        expected = torch.rand(2), random.random(), np.random.rand()
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)
        self.augmented(augmentation)
        found = torch.rand(2), random.random(), np.random.rand()
        assert torch.equal(found[0], expected[0])
        assert found[1:] == expected[1:]
