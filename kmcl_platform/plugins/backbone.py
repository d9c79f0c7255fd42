"""`CustomBackbone`: the base class of backbones that are not timm's."""

import math
from typing import TYPE_CHECKING, Any, ClassVar

from kmcl_platform.messages import show_value
from kmcl_platform.plugins.component import Component

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class CustomBackbone(Component):
    """A network of your own, from images to features. timm's networks need no such class.

    It has options as fields and the method `build`. `model.backbone: NAME` chooses it.

    Attributes:
        mean: of the red, green and blue channel, for pixel values from 0 to 1. The platform subtracts it.
        std: the standard deviation of each channel, by which the platform then divides.
    """

    kind: ClassVar[str] = "backbone"
    package: ClassVar[str] = "backbones"
    mean: ClassVar[tuple[float, float, float]] = IMAGENET_MEAN
    std: ClassVar[tuple[float, float, float]] = IMAGENET_STD

    @classmethod
    def find_problem(cls) -> str | None:
        if cls.build is CustomBackbone.build:
            return "a class without the method `build`; valid: a class that has it"
        for name, lowest in (("mean", -math.inf), ("std", 0)):
            value = getattr(cls, name)
            if not (
                isinstance(value, tuple | list) and len(value) == 3 and all(_is_above(one, lowest) for one in value)
            ):
                above = " above 0" if name == "std" else ""
                return f"{name} = {show_value(value)}; valid: three numbers{above}, for red, green and blue"
        return None

    def build(self, image_size: int, pretrained: bool) -> "nn.Module":
        """The network, which has its number of features D as the attribute `num_features`.

        Its input are images of shape (B, 3, image_size, image_size), normalised, float32. Its output are features of
        shape (B, D); or a feature map: a grid of shape (B, D, H, W), or tokens of shape (B, T, D). If the head takes no
        feature map, the platform takes the mean over its places. Random numbers come from torch's global generator,
        which the trial has seeded. All parameters must get a gradient.

        Args:
            image_size: height and width, in pixels.
            pretrained: start from pretrained weights. False: other weights will be loaded, or the trial has
                `model.pretrained: false`. A file in `model.pretrained_file` is loaded by the platform.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `build`")


def _is_above(value: Any, lowest: float) -> bool:
    return isinstance(value, int | float) and lowest < value < math.inf
