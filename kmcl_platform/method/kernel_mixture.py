"""The head: features to one mixture of exponential kernels per class.

Shape suffixes: B batch, D features, K classes, C kernels per class.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class KernelMixture(NamedTuple):
    """Each sample's mixture of isotropic exponential kernels, class by class (METHOD.md, Head).

    Attributes:
        logits_BK: z; the class weight π and classification score is sigmoid(z).
        means_BKC: μ, a scalar per kernel that stands for μ·1_D.
        variances_BKC: v > 1, a scalar per kernel.
        log_weights_BKC: log α, the component weights, which sum to 1 over C; zeros for C = 1.
    """

    logits_BK: Tensor
    means_BKC: Tensor
    variances_BKC: Tensor
    log_weights_BKC: Tensor


class KernelMixtureHead(nn.Module):
    """Linear maps from features to the parameters of the kernel mixture (METHOD.md, Head; arXiv 2307.03967).

    Released initialisation: mean weights U(0, 0.1), variance weights 1, their biases 0; logits as torch's linear
    layer. Component weights (C > 1 only) start uniform. Random numbers come from torch's global generator.

    Args:
        num_features: D, at least 1.
        num_classes: K, at least 1.
        kernels_per_class: C, at least 1; 1 is plain KMCL.

    Raises:
        ValueError: an argument is below 1.
    """

    def __init__(self, *, num_features: int, num_classes: int, kernels_per_class: int) -> None:
        super().__init__()
        sizes = {"num_features": num_features, "num_classes": num_classes, "kernels_per_class": kernels_per_class}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name}: got {size}; wanted at least 1")
        self.num_features = num_features
        self.num_classes = num_classes
        self.kernels_per_class = kernels_per_class
        num_kernels = num_classes * kernels_per_class
        self.logit_layer = nn.Linear(num_features, num_classes)
        self.mean_layer = nn.Linear(num_features, num_kernels)
        self.variance_layer = nn.Linear(num_features, num_kernels)
        nn.init.uniform_(self.mean_layer.weight, 0.0, 0.1)
        nn.init.ones_(self.variance_layer.weight)
        nn.init.zeros_(self.mean_layer.bias)
        nn.init.zeros_(self.variance_layer.bias)
        self.component_layer: nn.Linear | None = None
        if kernels_per_class > 1:
            self.component_layer = nn.Linear(num_features, num_kernels)
            nn.init.zeros_(self.component_layer.weight)
            nn.init.zeros_(self.component_layer.bias)

    def forward(self, features_BD: Tensor) -> KernelMixture:
        """Return the kernel mixture of each sample, in the dtype of the features."""
        shape = (len(features_BD), self.num_classes, self.kernels_per_class)
        means_BKC = self.mean_layer(features_BD).view(shape)
        # 1e-7 is the released constant; with it v stays above 1 also in float32, where it rounds to one unit.
        variances_BKC = 2.0 + functional.elu(self.variance_layer(features_BD)).view(shape) + 1e-7
        if self.component_layer is None:
            log_weights_BKC = torch.zeros_like(means_BKC)
        else:
            log_weights_BKC = self.component_layer(features_BD).view(shape).log_softmax(-1)
        return KernelMixture(self.logit_layer(features_BD), means_BKC, variances_BKC, log_weights_BKC)
