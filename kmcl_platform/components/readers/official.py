"""What readers of official layouts have in common."""

from typing import Literal

from pydantic import Field

from kmcl_platform.plugins import Reader

AllNegative = Literal["keep", "drop"]
"""What becomes of images without any label."""


class DrawnValidation(Reader):
    """A reader whose dataset has no validation split: it is drawn out of train."""

    val_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of train that becomes val."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draws."""
