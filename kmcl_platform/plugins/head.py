"""`Head`: the base class of heads."""

from typing import TYPE_CHECKING, ClassVar

from kmcl_platform.plugins.component import Component

if TYPE_CHECKING:
    from torch import nn


class Head(Component):
    """What computes the logits of the classes from the features of an image.

    A head of your own has options as fields and the method `build`. `model.head: NAME` chooses it. If the objective has
    KMCL's kernel terms, the means and variances of the kernels are computed beside it, from the same features.

    Attributes:
        makes_kernels: the head is KMCL's own, whose settings are fields of `model`. Only `kernel_mixture` is.
        takes_feature_map: the network of `build` receives features at several places of the image, shape (B, T, D),
            and not their summary of shape (B, D). The kernel terms then use the mean over the places.
    """

    kind: ClassVar[str] = "head"
    package: ClassVar[str] = "heads"
    makes_kernels: ClassVar[bool] = False
    takes_feature_map: ClassVar[bool] = False

    @classmethod
    def find_problem(cls) -> str | None:
        if cls.makes_kernels or cls.build is not Head.build:
            return None
        return "a class without the method `build`; valid: a class that has it"

    def build(self, num_features: int, num_classes: int) -> "nn.Module":
        """The network from features to logits of shape (B, K), with new weights.

        It computes in float32, also if the backbone does not. Its random numbers come from torch's global generator,
        which the trial has seeded. All its parameters must get a gradient.

        Args:
            num_features: D, the number of features.
            num_classes: K, the number of classes.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `build`")
