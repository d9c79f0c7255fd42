"""Augmentation of whole batches: its draws, their distribution, and no waiting for a device."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from kmcl_platform.data.augmentation import batches
from kmcl_platform.data.augmentation.augmented_batches import AugmentedBatches, check_batched_form
from kmcl_platform.data.augmentation.batches import BatchCutout, BatchFlip, BatchRandAugment, draw_epoch
from kmcl_platform.data.augmentation.single_images import AugmentationResultError, cutout
from kmcl_platform.plugins import Augmentation, find_component, list_components
from tests.training.pretend_accelerator import DEVICE, pretend_accelerator

BATCHED = [
    name
    for name in list_components(Augmentation, built_in=True)
    if find_component(Augmentation, name).has_batched_form()
]


def noise(count: int, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def augmented(order: list[int], batch_size: int, epoch: int = 1, name: str = "released") -> torch.Tensor:
    """The images with these indices, of 24, as a loader of this order gives them."""
    images = noise(24)
    loader = [
        (images[order[start : start + batch_size]], torch.zeros(batch_size, 1))
        for start in range(0, len(order), batch_size)
    ]
    changed = AugmentedBatches(
        loader,  # type: ignore[arg-type]
        find_component(Augmentation, name)().build_batched(),
        order=order,
        epoch=lambda: epoch,
        num_images=24,
        seed=3,
        device=torch.device("cpu"),
    )
    assert len(changed) == len(loader)
    return torch.cat([batch for batch, _ in changed])


def test_these_have_a_form_for_batches() -> None:
    assert BATCHED == ["flip", "rand_augment", "released"]


@pytest.mark.parametrize("name", BATCHED)
def test_the_draws_of_an_image_depend_on_neither_its_batch_nor_the_workers(name: str) -> None:
    order = [5, 0, 17, 3, 23, 8, 11, 2]
    together = augmented(order, 8, name=name)
    assert torch.equal(together, augmented(order, 4, name=name))
    # Two workers have every second image.
    assert torch.equal(together[1::2], augmented(order[1::2], 2, name=name))
    assert not torch.equal(together, augmented(order, 8, epoch=2, name=name))


def test_a_batch_has_flipped_and_other_images() -> None:
    images, result = noise(200), BatchFlip()(noise(200), draw_epoch(0, 1, 200, 1))
    flipped = [torch.equal(image, own.flip(2)) for image, own in zip(result, images, strict=True)]
    assert all(flip or torch.equal(image, own) for flip, image, own in zip(flipped, result, images, strict=True))
    assert 70 < sum(flipped) < 130


def test_all_operations_and_both_directions_are_equally_frequent() -> None:
    seen: Counter[tuple[str, float]] = Counter()

    def count(images: torch.Tensor, names: list[str], signs_B: np.ndarray, _: int) -> torch.Tensor:
        seen.update(zip(names, signs_B.tolist(), strict=True))
        return images

    augment = BatchRandAugment(operations=2, magnitude=9)
    with mock.patch.object(batches, "apply_operations", count):
        augment(noise(7000, 8), draw_epoch(0, 1, 7000, augment.num_draws))
    assert len(seen) == 28
    # 500 are expected of each; their standard deviation is 22.
    assert all(400 < number < 600 for number in seen.values())


def test_cutout_fills_the_box_that_the_other_form_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers give the same box and colour, also where a part of the box is outside of the image."""
    images = noise(60, 20)
    draws_BX = draw_epoch(0, 1, 60, 5)
    result = BatchCutout(0.5)(images, draws_BX)
    for image, changed, draws in zip(images, result, draws_BX, strict=True):
        given = iter(draws.tolist())
        monkeypatch.setattr(torch, "randint", lambda high, _, given=given: int(next(given) * high))
        expected = cutout(image.permute(1, 2, 0).numpy().copy(), 0.5)
        assert np.array_equal(changed.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("name", BATCHED)
def test_the_host_does_not_wait_for_the_device(name: str) -> None:
    augment = find_component(Augmentation, name)().build_batched()
    with pretend_accelerator() as accelerator:
        loader = [(torch.zeros((64, 3, 16, 16), dtype=torch.uint8), torch.zeros((64, 2), dtype=torch.int8))]
        settings: dict[str, Any] = {"num_images": 64, "seed": 0, "device": DEVICE}
        changed = AugmentedBatches(loader, augment, order=range(64), epoch=lambda: 1, **settings)  # type: ignore[arg-type]
        ((images_B3SS, _),) = changed
        assert images_B3SS.device.type == DEVICE.type
        assert accelerator.waits == []


class TooFew:
    num_draws = 1

    def __call__(self, images: torch.Tensor, draws: np.ndarray) -> torch.Tensor:
        return images[1:]


class NoDraws(TooFew):
    num_draws = 0


class Floats(TooFew):
    def __call__(self, images: torch.Tensor, draws: np.ndarray) -> torch.Tensor:
        return images / 2


def wrong_forms() -> Iterator[Any]:
    yield pytest.param(TooFew(), r"uint8 of shape \(3, 3, 16, 16\) from `build_batched`; valid: .*\(4, 3, 16, 16\)")
    yield pytest.param(Floats(), r"torch.float32 of shape \(4, 3, 16, 16\) from `build_batched`; valid: .*uint8")
    yield pytest.param(NoDraws(), "`num_draws` is 0; valid: a whole number, 1 or more")
    yield pytest.param(None, "`num_draws` is None; valid")


@pytest.mark.parametrize(("form", "message"), list(wrong_forms()))
def test_a_wrong_form_of_a_plug_in_is_one_line(form: Any, message: str) -> None:
    with pytest.raises(AugmentationResultError, match=message):
        check_batched_form(form, np.zeros((16, 16, 3), dtype=np.uint8), 4)
