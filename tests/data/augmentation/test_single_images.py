"""The augmentations of training images."""

import random

import numpy as np
import pytest
import torch

from kmcl_platform.components.augmentations import MODULES
from kmcl_platform.data.augmentation.single_images import cutout
from kmcl_platform.plugins import Augmentation, find_component, list_components


def test_each_file_registers_the_augmentation_of_its_name() -> None:
    assert sorted(MODULES) == list_components(Augmentation, built_in=True)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "none"])
def test_no_draw_fails(name: str) -> None:
    """This includes rare draws: timm draws magnitudes from a normal distribution, and Pillow refuses some extreme ones."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    augment = find_component(Augmentation, name)().build()
    images = np.random.default_rng(0).integers(0, 256, (16, 12, 12, 3)).astype(np.uint8)
    for draw in range(3000):
        augmented = augment(images[draw % 16].copy())
        assert augmented.shape == (12, 12, 3)
        assert augmented.dtype == np.uint8


def test_cutout_fills_one_box_with_one_colour() -> None:
    torch.manual_seed(0)
    sizes = []
    for _ in range(200):
        # With this seed, no box has the colour of the image.
        cut = cutout(np.full((20, 20, 3), 7, dtype=np.uint8), 0.5)
        inside = (cut != 7).any(axis=2)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert inside.sum() == len(rows) * len(columns)
        assert len(np.unique(cut[inside], axis=0)) == 1
        sizes.append((len(rows), len(columns)))
    # The side is 10, or less where a part of the box is outside. It is at least 5, because the centre is inside.
    assert {min(size) for size in zip(*sizes, strict=True)} == {5}
    assert {max(size) for size in zip(*sizes, strict=True)} == {10}


def test_cutout_leaves_a_read_only_image_as_it_is() -> None:
    torch.manual_seed(0)
    image = np.full((20, 20, 3), 7, dtype=np.uint8)
    image.flags.writeable = False
    assert (cutout(image, 0.5) != 7).any()
    assert (image == 7).all()
