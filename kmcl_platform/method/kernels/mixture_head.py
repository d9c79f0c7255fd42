"""The head: from features to one mixture of exponential kernels per class.

Shape suffixes: B batch, D features, K classes, C kernels per class, R values of one kernel's mean or variance. R is 1,
one value for all D dimensions (isotropic), or D (anisotropic).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNELS = ("isotropic", "anisotropic", "mahalanobis", "rbf")
"""Valid values of KernelMixtureHead's `kernel`."""


class KernelMixture(NamedTuple):
    """The mixtures of exponential kernels of a batch: one for each sample and class (docs/method.md, Head).

    Attributes:
        logits_BK: z. sigmoid(z) is the class weight π and the classification score.
        means_BKCR: μ. With R = 1, one number per kernel, the same in all D dimensions.
        variances_BKCR: v, above 1. With R = 1, one number per kernel.
        log_weights_BKC: log α. The component weights α sum to 1 over C. Zeros for C = 1.
    """

    logits_BK: Tensor
    means_BKCR: Tensor
    variances_BKCR: Tensor
    log_weights_BKC: Tensor


class KernelMixtureHead(nn.Module):
    """The head: linear maps from features to the parameters of the kernel mixture.

    See docs/method.md, Head, and arXiv 2307.03967. The initialisation is the released one: mean weights U(0, 0.1),
    variance weights 1, their biases 0, the logit layer as torch initialises it. The component weights (C > 1 only)
    start equal. Random numbers come from torch's global generator.

    Args:
        num_features: D, at least 1.
        num_classes: K, at least 1.
        kernels_per_class: C, at least 1; 1 is plain KMCL.
        kernel: the shape of a kernel, and which kernels share a variance. With the first two the similarity of two
            samples is the Bhattacharyya coefficient. The other two become the Mahalanobis and the RBF kernel where the
            variances of two samples are equal.
            `isotropic`: one mean and one variance for each kernel (R = 1);
            `anisotropic`: D means and D variances for each kernel (R = D);
            `mahalanobis`: as anisotropic, but all kernels of a sample share their D variances;
            `rbf`: as isotropic, but all kernels of a sample share one variance.

    Raises:
        ValueError: a size is below 1, or there is no such kernel.
    """

    def __init__(
        self, *, num_features: int, num_classes: int, kernels_per_class: int, kernel: str = "isotropic"
    ) -> None:
        super().__init__()
        sizes = {"num_features": num_features, "num_classes": num_classes, "kernels_per_class": kernels_per_class}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name}: got {size}; valid: at least 1")
        if kernel not in KERNELS:
            raise ValueError(f"kernel: got {kernel!r}; valid: {', '.join(KERNELS)}")
        self.num_features = num_features
        self.num_classes = num_classes
        self.kernels_per_class = kernels_per_class
        self.kernel = kernel
        self.kernel_size = num_features if kernel in ("anisotropic", "mahalanobis") else 1
        num_kernels = num_classes * kernels_per_class
        num_variances = 1 if kernel in ("mahalanobis", "rbf") else num_kernels
        self.logit_layer = nn.Linear(num_features, num_classes)
        self.mean_layer = nn.Linear(num_features, num_kernels * self.kernel_size)
        self.variance_layer = nn.Linear(num_features, num_variances * self.kernel_size)
        nn.init.uniform_(self.mean_layer.weight, 0.0, 0.1)
        nn.init.ones_(self.variance_layer.weight)
        nn.init.zeros_(self.mean_layer.bias)
        nn.init.zeros_(self.variance_layer.bias)
        self.component_layer: nn.Linear | None = None
        if kernels_per_class > 1:
            self.component_layer = nn.Linear(num_features, num_kernels)
            # α starts at 1/C. The kernels of a class still differ from the first step on, by their random means.
            nn.init.zeros_(self.component_layer.weight)
            nn.init.zeros_(self.component_layer.bias)

    def forward(self, features_BD: Tensor) -> KernelMixture:
        """Return the kernel mixture of features_BD, in their dtype."""
        # len(features_BD) would make the batch size a constant in an exported model.
        shape = (features_BD.shape[0], self.num_classes, self.kernels_per_class)
        means_BKCR = self.mean_layer(features_BD).view(*shape, self.kernel_size)
        # 1e-7 is the released constant. ELU rounds to exactly -1 for large negative inputs; with the constant v stays
        # above 1 also in float32, by one unit in the last place.
        variances = 2.0 + functional.elu(self.variance_layer(features_BD)) + 1e-7
        if self.kernel in ("mahalanobis", "rbf"):
            # A view: the gradient of the shared variance is the sum over all kernels of the sample.
            variances_BKCR = variances.view(-1, 1, 1, self.kernel_size).expand_as(means_BKCR)
        else:
            variances_BKCR = variances.view_as(means_BKCR)
        if self.component_layer is None:
            log_weights_BKC = torch.zeros(shape, dtype=features_BD.dtype, device=features_BD.device)
        else:
            # log_softmax instead of softmax and log: a weight that underflows keeps a finite logarithm.
            log_weights_BKC = self.component_layer(features_BD).view(shape).log_softmax(-1)
        return KernelMixture(self.logit_layer(features_BD), means_BKCR, variances_BKCR, log_weights_BKC)
