"""`kernel_mixture`: the head of KMCL, which gives logits and kernels (docs/method.md, Head)."""

from typing import ClassVar

from kmcl_platform.plugins import Head, register


@register("kernel_mixture")
class KernelMixtureOptions(Head):
    """KMCL's head. Its settings are fields of `model`: kernels, their number and shape, the start, the input."""

    makes_kernels: ClassVar[bool] = True
