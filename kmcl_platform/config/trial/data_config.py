"""DataConfig: the images of a trial."""

import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from kmcl_platform.config.base import FileScalar, Frozen
from kmcl_platform.config.component_options import fill_options, make_component, require_component
from kmcl_platform.plugins.augmentation import Augmentation
from kmcl_platform.plugins.registry import list_components

_AUGMENTATIONS: dict[str, Any] = {"examples": list_components(Augmentation, built_in=True)}
"""For the completion of editors. Plug-ins have other names."""


class DataConfig(Frozen):
    """Which images, at which size, in which batches."""

    source: str = "digits"
    """Name of an embedded dataset (`digits`), or the path or URI of a manifest (`*.parquet`)."""
    image_size: int = Field(default=40, ge=8, le=2048)
    """Height and width, in pixels, that images are resized to."""
    batch_size: int = Field(default=64, ge=2, le=65536)
    """Images per optimizer step over all workers (the global batch)."""
    background: str = "white"
    """Colour behind the transparent parts of images: white, black, or red, green and blue such as `#7f7f7f`."""
    loader_processes: int = Field(default=0, ge=0, le=64)
    """Processes that decode images for each training worker; 0 decodes in the worker itself."""
    cache: Literal["none", "pixels"] = "none"
    """pixels: each image is decoded and resized once, and kept on the node's disk for all trials that read the same
    images at the same size (docs/data.md). It changes no result."""
    augmentation: str = Field(default="none", json_schema_extra=_AUGMENTATIONS)
    """Random changes of training images. flip: horizontal flips; released: the authors' Cutout of half the size and
    RandAugment; rand_augment: torchvision's RandAugment with flips, and options; timm: its RandAugment with flips;
    torchvision: its TrivialAugmentWide with flips; or one of a plug-in. The draws of each epoch differ."""
    augmentation_options: dict[str, dict[str, FileScalar]] = Field(default_factory=dict, validate_default=True)
    """Options of augmentations, under their names, such as `rand_augment: {magnitude: 5}`. Those of the chosen one are
    filled in."""
    augment_batches: bool = False
    """Apply `augmentation` to whole batches on the device that trains, and not to each image while it is loaded. It
    helps where a GPU waits for its loader processes. The changes have the same distribution. For flip, rand_augment,
    released, and plug-ins with such a form."""
    features: str | None = None
    """A file with own features (embeddings), which are used instead of those of a backbone: `*.npy`, or `*.parquet`
    with a column `features`; one row for each row of the manifest, in its order. Needs model.backbone_mode frozen."""
    views: int | None = Field(default=None, ge=1, le=1000)
    """With a frozen backbone: how many random changes of each training image have their features computed. A trial
    takes another one in each epoch, one after another. None: `augmentation` is none."""
    corrupt_images: Literal["error", "skip"] = "error"
    """A training image that cannot be decoded ends the trial, or the next one of the split takes its place and
    `train/skipped_images` counts it. In val and test, and where a file is missing, it is always an error."""

    @property
    def augmentation_component(self) -> Augmentation:
        """The augmentation, with its options."""
        return make_component(Augmentation, self.augmentation, self.augmentation_options)

    @field_validator("augmentation")
    @classmethod
    def _check_augmentation(cls, name: str) -> str:
        require_component(Augmentation, name)
        return name

    @field_validator("augmentation_options")
    @classmethod
    def _fill_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return fill_options(Augmentation, options, [info.data["augmentation"]] if "augmentation" in info.data else [])

    @field_validator("background")
    @classmethod
    def _check_colour(cls, value: str) -> str:
        # As in `_check_one_value`, the text of a ValueError is what follows `valid:` in the message.
        if not re.fullmatch("white|black|#[0-9a-fA-F]{6}", value):
            raise ValueError("white, black, or a colour such as '#7f7f7f'")
        return value
