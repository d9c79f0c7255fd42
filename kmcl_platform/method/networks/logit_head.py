"""A head whose logits come from any network, with KMCL's kernels beside it if the loss compares kernels.

Shape suffixes: B batch, T places of a feature map, D features, K classes, C kernels per class, R values of one
kernel's mean or variance.
"""

import torch
from torch import Tensor, nn

from kmcl_platform.method.kernels.mixture_head import KernelMixture, KernelMixtureHead


class LogitHead(nn.Module):
    """A head that consists of a network for the logits and, beside it, the kernels.

    Args:
        network: from features_BD, or from the feature map features_BTD, to logits_BK.
        num_features: D, of the head's input.
        num_classes: K.
        kernels: a head without logits of its own. It receives the features, of a feature map their mean over the
            places. For kernels with R = D a learned linear map first reduces them to the number that it takes. None:
            the loss has no kernel terms, and the mixture has no kernels (C = 0).

    Attributes:
        kernel_size: 1. The features of the logits are never reduced.
    """

    num_inputs: Tensor
    kernel_size = 1

    def __init__(
        self, network: nn.Module, *, num_features: int, num_classes: int, kernels: KernelMixtureHead | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.num_features = num_features
        self.num_classes = num_classes
        self.kernels = kernels
        self.reduction: nn.Linear | None = None
        if kernels is not None and kernels.kernel_size > 1:
            self.reduction = nn.Linear(num_features, kernels.num_features)
        # With the weights: nothing else tells how many features a model without a backbone takes.
        self.register_buffer("num_inputs", torch.tensor(num_features))

    def kernel_features(self, features: Tensor) -> Tensor:
        """As `KernelMixtureHead.kernel_features`, (B, D); without kernels, the features themselves."""
        pooled_BD = self._pool(features)
        return pooled_BD if self.kernels is None else self.kernels.kernel_features(pooled_BD)

    def kernels_of(self, kernel_BD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `KernelMixtureHead.kernels_of`, of a head with kernels."""
        assert self.kernels is not None, "a head without kernels"
        return self.kernels.kernels_of(kernel_BD)

    def kernel_parameters(self) -> list[nn.Parameter]:
        """As `KernelMixtureHead.kernel_parameters`."""
        return [] if self.kernels is None else self.kernels.kernel_parameters()

    def forward(self, features: Tensor) -> KernelMixture:
        """Return the kernel mixture of features_BD or features_BTD.

        Raises:
            ValueError: the network's result is no logit of each class.
        """
        # Before the logits, as in `KernelMixtureHead`: the sum of the gradients at the features has the same rounding.
        kernels = None if self.kernels is None else self.kernels.kernels(self._pool(features))
        logits_BK: Tensor = self.network(features)
        if logits_BK.dim() != 2 or logits_BK.shape[1] != self.num_classes:
            raise ValueError(
                f"the head: got logits of shape {tuple(logits_BK.shape)}; valid: (images, {self.num_classes}), one for "
                "each class"
            )
        if kernels is not None:
            return KernelMixture(logits_BK, *kernels)
        none_BKCR = logits_BK.new_zeros((*logits_BK.shape, 0, 1))
        return KernelMixture(logits_BK, none_BKCR, none_BKCR, none_BKCR[..., 0])

    def _pool(self, features: Tensor) -> Tensor:
        pooled_BD = features.mean(1) if features.dim() == 3 else features
        return pooled_BD if self.reduction is None else self.reduction(pooled_BD)
