"""The KMCL objective: the weighted sum of its three terms, and the baselines that run through the same code.

Targets are 1 positive, 0 negative, -1 unknown. An unknown label is in no term (docs/method.md, Symbols).

Shape suffixes: B batch, D features, K classes, C kernels per class, R values of one kernel's mean or variance (1 or D).
"""

import torch
from torch import Tensor, nn

from kmcl_platform.method.kernels.mixture_head import KernelMixture
from kmcl_platform.method.losses.check_inputs import check_choice, check_inputs, check_settings
from kmcl_platform.method.losses.classification import Classification, ClassificationLoss
from kmcl_platform.method.losses.contrastive import contrastive_loss
from kmcl_platform.method.losses.global_batch import BatchGather, GlobalBatch, local_batch
from kmcl_platform.method.losses.loss_parts import NO_FACTORS, LossParts, TermFactors, add_terms, weighted_terms
from kmcl_platform.method.losses.reconstruction import reconstruction_loss, released_reconstruction_loss

OBJECTIVES = ("kmcl", "asymmetric", "bce")
"""Valid values of KmclLoss's `objective`."""

FORMULATIONS = ("corrected", "released")
"""Valid values of KmclLoss's `formulation`."""

KERNEL_SCALES = ("total", "per_feature")
"""Valid values of KmclLoss's `kernel_scale`."""


class KmclLoss(nn.Module):
    """The objective of a trial: λ_asymmetric·L1 + λ_reconstruction·L2 + λ_contrastive·L3 (docs/method.md, Total).

    `formulation` selects the method as it is meant (`corrected`) or as the authors' code computes it (`released`):

    ======================  =========================================  ========================================
    point                   released                                   corrected
    ======================  =========================================  ========================================
    classification loss     sum over samples and classes               sum over classes, mean over samples
    Jaccard weight          -log(J·ratio + 1e-7)                       -J·log(ratio)
    similarity with R = D   D times the sum over D                     sum over D
    reconstruction          floors: kernel 1.17549e-38, ratio 1e-7     log space, no floors
    unlabelled sample       adds -log 1e-7 to the reconstruction mean  left out of the mean
    several workers         pairs and means within one worker          pairs and means over all workers' samples
    ======================  =========================================  ========================================

    With W workers, a `corrected` term of one worker is W times its own samples' part of the global loss. The mean over
    workers is then the loss of the whole batch in one process. The same holds for the gradients, which data parallelism
    averages.

    Args:
        objective: `kmcl`: all three terms; `asymmetric`: the asymmetric loss alone; `bce`: binary cross-entropy alone.
            The last two are multiplied by `asymmetric_weight`.
        formulation: `corrected` or `released`.
        temperature: τ of the contrastive term, above 0.
        asymmetric_weight: λ_asymmetric, at least 0.
        reconstruction_weight: λ_reconstruction, at least 0.
        contrastive_weight: λ_contrastive, at least 0. A term of weight 0 is computed for the record only.
        gamma_positive: focusing exponent of positive elements, at least 0.
        gamma_negative: focusing exponent of negative elements, at least 0.
        clip: probability margin in [0, 1). A negative element with a probability below it adds nothing.
        detach_focusing: the focusing weights receive no gradient, as released.
        label_smoothing: s in [0, 1): the classification uses y·(1 - s) + s/2 in place of a label y.
        kernel_scale: `total`: log g and log ρ are sums over the D features; `per_feature`: they are divided by D
            (docs/method.md, Scale of the kernel terms). `released` does not use it: its sums are always total.
        classification: the classification loss. None: the one that the objective and the five settings above describe,
            whose defaults are the released ones.
        gather: brings the samples of all workers together. None: one worker. `released` does not use it.
        max_labels: an upper bound on positive labels per sample. With it the host never waits for the device, which is
            faster on a GPU; the contrastive term is NaN if a batch exceeds the bound. None: the labels are counted,
            which is faster on a CPU.

    Attributes:
        classification: the classification loss with its settings.
        uses_kernels: whether the objective has kernel terms.
        trains_all: whether all parts of the mixture receive gradients: the logits, and the means, variances and
            component weights.

    Raises:
        ValueError: an argument is outside its range, or every term has weight 0.
    """

    uses_kernels: bool
    trains_all: bool

    def __init__(
        self,
        *,
        objective: str,
        temperature: float,
        asymmetric_weight: float,
        reconstruction_weight: float,
        contrastive_weight: float,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
        clip: float = 0.05,
        detach_focusing: bool = True,
        formulation: str = "corrected",
        kernel_scale: str = "total",
        label_smoothing: float = 0.0,
        classification: ClassificationLoss | None = None,
        gather: BatchGather | None = None,
        max_labels: int | None = None,
    ) -> None:
        super().__init__()
        check_choice("objective", objective, OBJECTIVES)
        check_choice("formulation", formulation, FORMULATIONS)
        check_choice("kernel_scale", kernel_scale, KERNEL_SCALES)
        check_settings(
            temperature,
            clip,
            max_labels,
            label_smoothing,
            asymmetric_weight=asymmetric_weight,
            reconstruction_weight=reconstruction_weight,
            contrastive_weight=contrastive_weight,
            gamma_positive=gamma_positive,
            gamma_negative=gamma_negative,
        )
        self.uses_kernels = objective == "kmcl"
        if asymmetric_weight == 0 and not (self.uses_kernels and reconstruction_weight + contrastive_weight > 0):
            raise ValueError(f"asymmetric_weight: got 0; valid: a weight above 0 for a term of objective {objective!r}")
        # The logits have gradients of the first two terms, the rest of the mixture of the last two.
        self.trains_all = (
            self.uses_kernels
            and reconstruction_weight + contrastive_weight > 0
            and asymmetric_weight + reconstruction_weight > 0
        )
        self.objective = objective
        self.formulation = formulation
        self.temperature = temperature
        self.weights = (asymmetric_weight, reconstruction_weight, contrastive_weight)
        # A buffer moves to the device with the module, so that no step copies the weights there.
        self._weights: Tensor
        self.register_buffer("_weights", torch.tensor(self.weights, dtype=torch.float64), persistent=False)
        self.classification = classification or Classification(
            objective == "bce", gamma_positive, gamma_negative, clip, detach_focusing, label_smoothing
        )
        self.kernel_scale = kernel_scale
        self.gather = gather if formulation == "corrected" else None
        self.max_labels = max_labels
        self._inputs_checked = False

    def forward(
        self, features_BD: Tensor, mixture: KernelMixture, targets_BK: Tensor, factors: TermFactors = NO_FACTORS
    ) -> LossParts:
        """Return the loss and its terms, in float32 also under autocast (float64 inputs give float64).

        Args:
            features_BD: f, the features that the mixture was computed from.
            mixture: kernels of the same samples.
            targets_BK: 1 positive, 0 negative, -1 unknown; any integer or floating type.
            factors: of this step. They change the total alone; the returned terms are without weights and factors.

        Raises:
            ValueError: shapes do not fit, or a target has another value. Only the first call checks this: the check
                makes the host wait for the device.
        """
        weights = self._weights_at(factors)
        sums, counts = self._sums_and_counts(features_BD, mixture, targets_BK, weights)
        return add_terms(sums, counts, weights, factors, self._weights)

    def weighted_terms(
        self, features_BD: Tensor, mixture: KernelMixture, targets_BK: Tensor, factors: TermFactors = NO_FACTORS
    ) -> list[Tensor | None]:
        """The summands of `total` in the order of `LossParts`, each with its own gradient.

        None: a term that is left out, or one that the objective does not have. Arguments and errors are those of
        `forward`.
        """
        weights = self._weights_at(factors)
        sums, counts = self._sums_and_counts(features_BD, mixture, targets_BK, weights)
        return weighted_terms(sums, counts, weights, factors)

    def exponent_scale(self, num_features: int) -> float:
        """The factor of the sums over D = `num_features` features in log g and log ρ: 1, or 1/D."""
        per_feature = self.kernel_scale == "per_feature" and self.formulation == "corrected"
        return 1.0 / num_features if per_feature else 1.0

    def _weights_at(self, factors: TermFactors) -> tuple[float, float, float]:
        asymmetric, reconstruction, contrastive = self.weights
        return asymmetric, reconstruction * factors.kernels, contrastive * factors.kernels

    def _sums_and_counts(
        self, features_BD: Tensor, mixture: KernelMixture, targets_BK: Tensor, weights: tuple[float, float, float]
    ) -> tuple[list[Tensor], Tensor]:
        """The sum of each term and the count that makes it a mean: one of each without kernels, else three."""
        if not self._inputs_checked:
            check_inputs(features_BD, mixture, targets_BK, with_kernels=self.uses_kernels)
            self._inputs_checked = True
        with torch.autocast(features_BD.device.type, enabled=False):
            features_BD = _at_least_float32(features_BD)
            mixture = KernelMixture(*map(_at_least_float32, mixture))
            positive_BK, known_BK = targets_BK == 1, targets_BK >= 0
            if self.gather is None:
                batch = local_batch(mixture, positive_BK, known_BK)
            else:
                batch = self.gather(features_BD, mixture, positive_BK, known_BK, with_kernels=self.uses_kernels)
            # Functions, because a term of weight 0 runs without a gradient graph (below).
            terms = [lambda: self.classification(mixture.logits_BK, positive_BK, known_BK)]
            if self.uses_kernels:
                terms.append(lambda: self._reconstruction(features_BD, mixture, positive_BK, known_BK))
                terms.append(lambda: self._contrastive(features_BD.shape[1], batch))
            grad = torch.is_grad_enabled()
            sums: list[Tensor] = []
            for weight, term in zip(weights, terms, strict=False):
                with torch.set_grad_enabled(grad and weight > 0):
                    sums.append(term())
            return sums, self._counts(batch)[: len(sums)]

    def _counts(self, batch: GlobalBatch) -> Tensor:
        """The counts by which the terms' sums are divided."""
        num_samples, num_labelled = batch.num_samples, batch.num_labelled
        if self.formulation == "released":
            # As released: the classification is a sum, and samples without a positive label count too.
            return torch.stack((torch.ones_like(num_samples), num_samples, num_samples))
        return torch.stack((num_samples, num_labelled, num_samples))

    def _reconstruction(
        self, features_BD: Tensor, mixture: KernelMixture, positive_BK: Tensor, known_BK: Tensor
    ) -> Tensor:
        if self.formulation == "released":
            return released_reconstruction_loss(features_BD, mixture, positive_BK, known_BK)
        scale = self.exponent_scale(features_BD.shape[1])
        return reconstruction_loss(features_BD, mixture, positive_BK, known_BK, kernel_scale=scale)

    def _contrastive(self, num_features: int, batch: GlobalBatch) -> Tensor:
        # R = 1: D times the one term, in both formulations. R = D: the sum over D has factor 1; the released code
        # multiplies it by D again.
        factor = num_features if self.formulation == "released" else num_features / batch.mixture.means_BKCR.shape[3]
        return contrastive_loss(
            batch.mixture,
            batch.positive_GK,
            batch.known_GK,
            dimension_scale=factor * self.exponent_scale(num_features),
            temperature=self.temperature,
            anchors=batch.anchors,
            weight_inside_log=self.formulation == "released",
            max_labels=self.max_labels,
        )


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
