"""The head: from features to one mixture of exponential kernels per class.

Shape suffixes: B batch, D features, K classes, C kernels per class, R values of one kernel's mean or variance. R is 1,
one value for all D dimensions (isotropic), or D (anisotropic).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNELS = ("isotropic", "anisotropic", "mahalanobis", "rbf")
"""Valid values of KernelMixtureHead's `kernel`."""

STARTS = ("released", "scaled")
"""Valid values of KernelMixtureHead's `start`."""

INPUTS = ("raw", "normalised")
"""Valid values of KernelMixtureHead's `input`."""

_START_VARIANCE = 1.05
"""v of a new head with the start `scaled`, for features of size 0. The lower bound of v is 1."""

_START_VARIANCE_SPREAD = 0.1
"""Standard deviation, in a new head with the start `scaled`, of the variance layer's output for features of size 1."""


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

    See docs/method.md, Head, and arXiv 2307.03967. The logit layer starts as torch initialises it, and the component
    weights (C > 1 only) start equal. Random numbers come from torch's global generator.

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
        start: initial weights of the mean and the variance layer; the mean layer's bias is 0.
            `released`: mean weights U(0, 0.1), variance weights 1, variance bias 0;
            `scaled`: mean weights N(0, 1/D), variance weights N(0, 0.01/D), and a variance bias with which v starts
            at 1.05. Means and variances then start at the same size for every D.
        input: what the mean, variance and component layers receive. The logit layer always receives the features.
            `raw`: the features; `normalised`: the features of each sample, less their mean and divided by their
            standard deviation (layer normalisation without learned parameters).
        with_logits: False: the logits come from another network, and only `kernels` is used.

    Raises:
        ValueError: a size is below 1, or there is no such kernel, start or input.
    """

    def __init__(
        self,
        *,
        num_features: int,
        num_classes: int,
        kernels_per_class: int,
        kernel: str = "isotropic",
        start: str = "released",
        input: str = "raw",
        with_logits: bool = True,
    ) -> None:
        super().__init__()
        sizes = {"num_features": num_features, "num_classes": num_classes, "kernels_per_class": kernels_per_class}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name}: got {size}; valid: at least 1")
        for name, value, valid in (("kernel", kernel, KERNELS), ("start", start, STARTS), ("input", input, INPUTS)):
            if value not in valid:
                raise ValueError(f"{name}: got {value!r}; valid: {', '.join(valid)}")
        self.num_features = num_features
        self.num_classes = num_classes
        self.kernels_per_class = kernels_per_class
        self.kernel = kernel
        self.start = start
        self.input = input
        self.kernel_size = num_features if kernel in ("anisotropic", "mahalanobis") else 1
        num_kernels = num_classes * kernels_per_class
        num_variances = 1 if kernel in ("mahalanobis", "rbf") else num_kernels
        self.logit_layer = nn.Linear(num_features, num_classes) if with_logits else None
        self.mean_layer = nn.Linear(num_features, num_kernels * self.kernel_size)
        self.variance_layer = nn.Linear(num_features, num_variances * self.kernel_size)
        nn.init.zeros_(self.mean_layer.bias)
        if start == "released":
            nn.init.uniform_(self.mean_layer.weight, 0.0, 0.1)
            nn.init.ones_(self.variance_layer.weight)
            nn.init.zeros_(self.variance_layer.bias)
        else:
            # A sum of D products with weights of variance 1/D has the size of the features, for every D.
            nn.init.normal_(self.mean_layer.weight, std=num_features**-0.5)
            nn.init.normal_(self.variance_layer.weight, std=_START_VARIANCE_SPREAD * num_features**-0.5)
            # v = 2 + ELU(a) = 1 + e^a for a below 0.
            nn.init.constant_(self.variance_layer.bias, math.log(_START_VARIANCE - 1.0))
        self.component_layer: nn.Linear | None = None
        if kernels_per_class > 1:
            self.component_layer = nn.Linear(num_features, num_kernels)
            # α starts at 1/C. The kernels of a class still differ from the first step on, by their random means.
            nn.init.zeros_(self.component_layer.weight)
            nn.init.zeros_(self.component_layer.bias)

    def kernel_features(self, features_BD: Tensor) -> Tensor:
        """f of the kernels (docs/method.md, Kernel), (B, D): the input of the mean, variance and component layers.

        The loss must compare the means with these features. The means are functions of them and have their size: with
        the input `normalised`, a mean of 1 is near a normalised feature, but far from a raw one of 0.01 or of 100.
        """
        if self.input == "raw":
            return features_BD
        # torch's eps of 1e-5 bounds the derivative where all features of a sample are nearly equal.
        return functional.layer_norm(features_BD, [self.num_features])

    def kernel_parameters(self) -> list[nn.Parameter]:
        """The parameters of the mean, variance and component layers: those that the kernel terms alone train."""
        layers = (self.mean_layer, self.variance_layer, self.component_layer)
        return [parameter for layer in layers if layer is not None for parameter in layer.parameters()]

    def forward(self, features_BD: Tensor) -> KernelMixture:
        """Return the kernel mixture of features_BD, in their dtype."""
        assert self.logit_layer is not None, "a head without logits has `kernels` only"
        kernels = self.kernels(features_BD)
        return KernelMixture(self.logit_layer(features_BD), *kernels)

    def kernels(self, features_BD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The means, variances and logarithms of the component weights, as `KernelMixture` has them."""
        return self.kernels_of(self.kernel_features(features_BD))

    def kernels_of(self, kernel_BD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same, from the result of `kernel_features`."""
        # len(kernel_BD) would make the batch size a constant in an exported model.
        shape = (kernel_BD.shape[0], self.num_classes, self.kernels_per_class)
        means_BKCR = self.mean_layer(kernel_BD).view(*shape, self.kernel_size)
        # 1e-7 is the released constant. ELU rounds to exactly -1 for large negative inputs; with the constant v stays
        # above 1 also in float32, by one unit in the last place.
        variances = 2.0 + functional.elu(self.variance_layer(kernel_BD)) + 1e-7
        if self.kernel in ("mahalanobis", "rbf"):
            # A view: the gradient of the shared variance is the sum over all kernels of the sample.
            variances_BKCR = variances.view(-1, 1, 1, self.kernel_size).expand_as(means_BKCR)
        else:
            variances_BKCR = variances.view_as(means_BKCR)
        if self.component_layer is None:
            log_weights_BKC = torch.zeros(shape, dtype=kernel_BD.dtype, device=kernel_BD.device)
        else:
            # log_softmax instead of softmax and log: a weight that underflows keeps a finite logarithm.
            log_weights_BKC = self.component_layer(kernel_BD).view(shape).log_softmax(-1)
        return means_BKCR, variances_BKCR, log_weights_BKC
