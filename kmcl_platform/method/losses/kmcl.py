"""The KMCL objective: its three terms together, and the baselines that run through the same code.

Everywhere: targets are 1 positive, 0 negative; elements that are -1 (difficult, unlabelled) count as neither and enter
no term.

Shape suffixes: B batch, D features, K classes, C kernels per class, R values of one kernel's mean or variance (1 or D).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kmcl_platform.method.kernels.mixture_head import KernelMixture
from kmcl_platform.method.losses.asymmetric import asymmetric_loss, binary_cross_entropy
from kmcl_platform.method.losses.contrastive import contrastive_loss
from kmcl_platform.method.losses.global_batch import BatchGather, GlobalBatch, local_batch
from kmcl_platform.method.losses.reconstruction import reconstruction_loss, released_reconstruction_loss

OBJECTIVES = ("kmcl", "asymmetric", "bce")
"""Valid values of KmclLoss's `objective`."""

FORMULATIONS = ("corrected", "released")
"""Valid values of KmclLoss's `formulation`."""


class LossParts(NamedTuple):
    """What a step optimises and its unweighted terms, all 0-dimensional.

    Attributes:
        total: weighted sum, the only one with a gradient.
        asymmetric: asymmetric loss; binary cross-entropy for objective `bce`.
        reconstruction: reconstruction loss; 0 without kernels.
        contrastive: contrastive loss; 0 without kernels.
    """

    total: Tensor
    asymmetric: Tensor
    reconstruction: Tensor
    contrastive: Tensor


class KmclLoss(nn.Module):
    """The whole objective: λ_asymmetric·L1 + λ_reconstruction·L2 + λ_contrastive·L3 (METHOD.md, Losses).

    `formulation` chooses between the method as it is meant and as the authors' code computes it:

    ======================  ===============================================  =======================================
    point                   released                                         corrected
    ======================  ===============================================  =======================================
    classification loss     sum over samples and classes                     sum over classes, mean over samples
    Jaccard weight          -log(J·ratio + 1e-7)                             -J·log(ratio)
    anisotropic similarity  times D and summed over D                        summed over D
    reconstruction          linear space, kernels floored at 1.17549e-38     log space, no floors
                            and the ratio at 1e-7
    unlabelled sample       adds -log 1e-7 to the reconstruction's mean      left out of the mean
    several workers         pairs within a worker, means over its own batch  pairs and means over all samples
    ======================  ===============================================  =======================================

    With several workers the corrected terms of a worker are its own samples' share of the global loss, times W: their
    mean over the workers is the loss of the whole batch in one process, and so is the mean of their gradients, which is
    what data parallelism takes.

    Args:
        objective: `kmcl` all three terms; `asymmetric` the asymmetric loss alone; `bce` binary cross-entropy alone.
            The last two are weighted by `asymmetric_weight`, so that the same weight means the same.
        formulation: `corrected` or `released`.
        temperature: τ > 0 of the contrastive term.
        asymmetric_weight: λ_asymmetric >= 0.
        reconstruction_weight: λ_reconstruction >= 0.
        contrastive_weight: λ_contrastive >= 0. A term of weight 0 is computed for the record but is no part of total.
        gamma_positive: focusing exponent of positive elements, >= 0.
        gamma_negative: focusing exponent of negative elements, >= 0.
        clip: probability margin that discards easy negatives, in [0, 1).
        detach_focusing: take the focusing weights without gradient, as released.
        similarity_per_dimension: divide -log ρ by D: an extension, for features so wide that ρ vanishes.
        gather: brings the samples of all workers together; none: this worker is the only one. Not used by `released`.
        max_labels: an upper bound on positive labels per sample. With it no operation makes the host wait for the
            device, which on a GPU is faster; the contrastive term is NaN where the bound is exceeded. None: the labels
            are counted, which on a CPU is faster.

    Attributes:
        uses_kernels: whether the objective has kernel terms.
        trains_all: whether all of the mixture's parts receive gradients: logits, and means, variances and component
            weights.

    Raises:
        ValueError: an argument is outside its range, or no term has a weight.
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
        gamma_positive: float,
        gamma_negative: float,
        clip: float,
        detach_focusing: bool,
        formulation: str = "corrected",
        similarity_per_dimension: bool = False,
        gather: BatchGather | None = None,
        max_labels: int | None = None,
    ) -> None:
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"objective: got {objective!r}; wanted one of {', '.join(OBJECTIVES)}")
        if formulation not in FORMULATIONS:
            raise ValueError(f"formulation: got {formulation!r}; wanted one of {', '.join(FORMULATIONS)}")
        if not 0.0 < temperature < math.inf:
            raise ValueError(f"temperature: got {temperature}; wanted a finite number above 0")
        if not 0.0 <= clip < 1.0:
            raise ValueError(f"clip: got {clip}; wanted a number in [0, 1)")
        if max_labels is not None and max_labels < 1:
            raise ValueError(f"max_labels: got {max_labels}; wanted at least 1")
        non_negative = {
            "asymmetric_weight": asymmetric_weight,
            "reconstruction_weight": reconstruction_weight,
            "contrastive_weight": contrastive_weight,
            "gamma_positive": gamma_positive,
            "gamma_negative": gamma_negative,
        }
        for name, value in non_negative.items():
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name}: got {value}; wanted a finite number of at least 0")
        self.uses_kernels = objective == "kmcl"
        if asymmetric_weight == 0 and not (self.uses_kernels and reconstruction_weight + contrastive_weight > 0):
            raise ValueError(f"asymmetric_weight: got 0; wanted some term of objective {objective!r} above 0")
        self.trains_all = (
            self.uses_kernels
            and reconstruction_weight + contrastive_weight > 0
            and asymmetric_weight + reconstruction_weight > 0
        )
        self.objective = objective
        self.formulation = formulation
        self.temperature = temperature
        self.weights = (asymmetric_weight, reconstruction_weight, contrastive_weight)
        self._weights: Tensor
        self.register_buffer("_weights", torch.tensor(self.weights, dtype=torch.float64), persistent=False)
        self.gamma_positive = gamma_positive
        self.gamma_negative = gamma_negative
        self.clip = clip
        self.detach_focusing = detach_focusing
        self.similarity_per_dimension = similarity_per_dimension
        self.gather = gather if formulation == "corrected" else None
        self.max_labels = max_labels
        self._inputs_checked = False

    def forward(self, features_BD: Tensor, mixture: KernelMixture, targets_BK: Tensor) -> LossParts:
        """Return the loss and its terms, computed in float32 at least (float64 is kept), also under autocast.

        Args:
            features_BD: f, the features that the mixture was computed from.
            mixture: kernels of the same samples.
            targets_BK: 1 positive, 0 negative, -1 unknown; any integer or floating type.

        Raises:
            ValueError: on the first call of the module, shapes do not agree or targets hold another value.
        """
        return self._combine(*self._sums_and_counts(features_BD, mixture, targets_BK))

    def weighted_terms(self, features_BD: Tensor, mixture: KernelMixture, targets_BK: Tensor) -> list[Tensor | None]:
        """The summands of `total`, each with a gradient of its own; None for a term that is no part of it.

        Args and errors as for `forward`; the order is that of `LossParts`.
        """
        sums, counts = self._sums_and_counts(features_BD, mixture, targets_BK)
        terms: list[Tensor | None] = [
            weight * value / count if weight > 0 else None
            for weight, value, count in zip(self.weights, sums, counts, strict=False)
        ]
        return terms + [None] * (3 - len(terms))

    def _sums_and_counts(
        self, features_BD: Tensor, mixture: KernelMixture, targets_BK: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Each term's sum, and what it is divided by to be a mean: one or three values of each."""
        if not self._inputs_checked:
            _check_inputs(features_BD, mixture, targets_BK)
            self._inputs_checked = True
        with torch.autocast(features_BD.device.type, enabled=False):
            mixture = KernelMixture(*map(_at_least_float32, mixture))
            positive_BK, known_BK = targets_BK == 1, targets_BK >= 0
            if self.gather is None:
                batch = local_batch(mixture, positive_BK, known_BK)
            else:
                batch = self.gather(mixture, positive_BK, known_BK, with_kernels=self.uses_kernels)
            terms = [lambda: self._classification(mixture.logits_BK, positive_BK, known_BK)]
            if self.uses_kernels:
                features_BD = _at_least_float32(features_BD)
                terms.append(lambda: self._reconstruction(features_BD, mixture, positive_BK, known_BK))
                terms.append(lambda: self._contrastive(features_BD.shape[1], batch))
            grad = torch.is_grad_enabled()
            sums: list[Tensor] = []
            for weight, term in zip(self.weights, terms, strict=False):
                with torch.set_grad_enabled(grad and weight > 0):
                    sums.append(term())
            counts = self._counts(batch)
            return sums, counts if len(sums) == 3 else counts[: len(sums)]

    def _counts(self, batch: GlobalBatch) -> Tensor:
        """What each term's sum is divided by to be a mean."""
        num_samples, num_labelled = batch.num_samples, batch.num_labelled
        if self.formulation == "released":
            return torch.stack((torch.ones_like(num_samples), num_samples, num_samples))
        return torch.stack((num_samples, num_labelled, num_samples))

    def _combine(self, sums: list[Tensor], counts: Tensor) -> LossParts:
        """Make the terms' sums means, and add them by their weights."""
        means = torch.stack(sums) / counts
        # Terms of weight 0 are left out, not multiplied by it: 0 · NaN is NaN.
        used = [i for i, weight in enumerate(self.weights[: len(sums)]) if weight > 0]
        if len(used) == 3:
            total = torch.dot(means, self._weights.to(means.dtype))
        else:
            total = torch.stack([means[i] * self.weights[i] for i in used]).sum()
        parts = list(means.detach().unbind())
        while len(parts) < 3:
            parts.append(torch.zeros_like(total))
        return LossParts(total, *parts)

    def _classification(self, logits_BK: Tensor, positive_BK: Tensor, known_BK: Tensor) -> Tensor:
        if self.objective == "bce":
            return binary_cross_entropy(logits_BK, positive_BK, known_BK)
        return asymmetric_loss(
            logits_BK,
            positive_BK,
            known_BK,
            gamma_positive=self.gamma_positive,
            gamma_negative=self.gamma_negative,
            clip=self.clip,
            detach_focusing=self.detach_focusing,
        )

    def _reconstruction(
        self, features_BD: Tensor, mixture: KernelMixture, positive_BK: Tensor, known_BK: Tensor
    ) -> Tensor:
        form = reconstruction_loss if self.formulation == "corrected" else released_reconstruction_loss
        return form(features_BD, mixture, positive_BK, known_BK)

    def _contrastive(self, num_features: int, batch: GlobalBatch) -> Tensor:
        # Released: D times one term for isotropic kernels, as it should be, and D times a sum over D for others.
        factor = num_features if self.formulation == "released" else num_features / batch.mixture.means_BKCR.shape[3]
        return contrastive_loss(
            batch.mixture,
            batch.positive_GK,
            batch.known_GK,
            dimension_scale=factor / num_features if self.similarity_per_dimension else factor,
            temperature=self.temperature,
            anchors=batch.anchors,
            weight_inside_log=self.formulation == "released",
            max_labels=self.max_labels,
        )


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _check_inputs(features_BD: Tensor, mixture: KernelMixture, targets_BK: Tensor) -> None:
    if features_BD.dim() != 2:
        raise ValueError(f"features_BD: got shape {tuple(features_BD.shape)}; wanted 2 dimensions")
    if mixture.logits_BK.dim() != 2 or len(mixture.logits_BK) != len(features_BD):
        shape = tuple(mixture.logits_BK.shape)
        raise ValueError(f"logits_BK: got shape {shape}; wanted ({len(features_BD)}, classes)")
    if targets_BK.shape != mixture.logits_BK.shape:
        wanted = tuple(mixture.logits_BK.shape)
        raise ValueError(f"targets_BK: got shape {tuple(targets_BK.shape)}; wanted {wanted}, as logits_BK")
    num_classes, num_features = mixture.logits_BK.shape[1], features_BD.shape[1]
    means_BKCR = mixture.means_BKCR
    if means_BKCR.dim() != 4 or means_BKCR.shape[:2] != mixture.logits_BK.shape or means_BKCR.shape[2] < 1:
        raise ValueError(
            f"means_BKCR: got shape {tuple(means_BKCR.shape)}; wanted ({len(features_BD)}, {num_classes}, kernels per "
            f"class, 1 or {num_features})"
        )
    if means_BKCR.shape[3] not in (1, num_features):
        raise ValueError(
            f"means_BKCR: got {means_BKCR.shape[3]} values for each kernel; wanted 1 or {num_features}, the features"
        )
    for name, part, shape in (
        ("variances_BKCR", mixture.variances_BKCR, means_BKCR.shape),
        ("log_weights_BKC", mixture.log_weights_BKC, means_BKCR.shape[:3]),
    ):
        if part.shape != shape:
            raise ValueError(f"{name}: got shape {tuple(part.shape)}; wanted {tuple(shape)}")
    valid_BK = (targets_BK == 1) | (targets_BK == 0) | (targets_BK == -1)
    if not bool(valid_BK.all()):
        value = targets_BK[~valid_BK][0].item()
        raise ValueError(f"targets_BK: got the value {value}; wanted 1 positive, 0 negative, -1 unknown")
