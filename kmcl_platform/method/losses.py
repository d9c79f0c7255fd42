"""The KMCL objective and its three terms, and the baselines that run through the same code.

Everywhere: targets are 1 positive, 0 negative; elements that `known_BK` excludes (difficult, unlabelled) count as
neither and enter no term. Every term is a sum over classes and a mean over the batch (the reconstruction: over the
samples with a positive label). Pairs of the contrastive term are formed within one worker's batch; forming them over
the global batch takes an all-gather and comes with it.

Shape suffixes: B batch, D features, K classes, C kernels per class, P rows (n, k) with a positive label.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from kmcl_platform.method.kernel_mixture import KernelMixture
from kmcl_platform.method.similarity import log_kernel, log_similarity

OBJECTIVES = ("kmcl", "asymmetric", "bce")
"""Valid values of KmclLoss's `objective`."""

_SMALLEST_PROBABILITY = 1e-7


class LossParts(NamedTuple):
    """What a step optimises and its unweighted terms, all 0-dimensional.

    Attributes:
        total: weighted sum; the only one to call backward on.
        asymmetric: asymmetric loss; binary cross-entropy for objective `bce`.
        reconstruction: reconstruction loss; 0 without kernels.
        contrastive: contrastive loss; 0 without kernels.
    """

    total: Tensor
    asymmetric: Tensor
    reconstruction: Tensor
    contrastive: Tensor


def asymmetric_loss(
    logits_BK: Tensor,
    targets_BK: Tensor,
    known_BK: Tensor,
    *,
    gamma_positive: float,
    gamma_negative: float,
    clip: float,
    detach_focusing: bool,
) -> Tensor:
    """Asymmetric loss, summed over classes, mean over the batch (METHOD.md, loss 1; ASL, arXiv 2009.14119).

    Args:
        logits_BK: z.
        targets_BK: 1 positive, else negative.
        known_BK: bool, elements that count.
        gamma_positive: focusing exponent of positive elements, at least 0.
        gamma_negative: focusing exponent of negative elements, at least 0.
        clip: probability margin that discards easy negatives, in [0, 1).
        detach_focusing: take the focusing weights without gradient.

    Returns:
        0-dimensional, at least 0; logarithms are taken of probabilities clamped at 1e-7.
    """
    positive_BK = targets_BK == 1
    # sigmoid(-z) is 1 - p without the rounding of 1 - p near p = 1.
    probability_BK = torch.where(positive_BK, logits_BK.sigmoid(), ((-logits_BK).sigmoid() + clip).clamp(max=1.0))
    # The clamp keeps the gradient of a power below 1 finite where the element itself vanishes.
    miss_BK = (1.0 - probability_BK).clamp(min=_SMALLEST_PROBABILITY)
    if detach_focusing:
        miss_BK = miss_BK.detach()
    focus_BK = torch.where(positive_BK, miss_BK**gamma_positive, miss_BK**gamma_negative)
    elements_BK = focus_BK * probability_BK.clamp(min=_SMALLEST_PROBABILITY).log()
    return -torch.where(known_BK, elements_BK, 0.0).sum() / len(logits_BK)


def binary_cross_entropy(logits_BK: Tensor, targets_BK: Tensor, known_BK: Tensor) -> Tensor:
    """Plain binary cross-entropy of the logits, summed over classes, mean over the batch.

    Args:
        logits_BK: z.
        targets_BK: 1 positive, else negative.
        known_BK: bool, elements that count.

    Returns:
        0-dimensional, at least 0; exact for any finite logit (no clamp).
    """
    positive_BK = (targets_BK == 1).to(logits_BK.dtype)
    weight_BK = known_BK.to(logits_BK.dtype)
    total = functional.binary_cross_entropy_with_logits(logits_BK, positive_BK, weight_BK, reduction="sum")
    return total / len(logits_BK)


def reconstruction_loss(features_BD: Tensor, mixture: KernelMixture, targets_BK: Tensor, known_BK: Tensor) -> Tensor:
    """Mean of -log(Σ_{k: y=1} π g / Σ_k π g) over samples with a positive label (METHOD.md, loss 2; corrected).

    Args:
        features_BD: f.
        mixture: kernels of the same samples.
        targets_BK: 1 positive, else negative.
        known_BK: bool, elements that count.

    Returns:
        0-dimensional, at least 0; 0 with a gradient graph where no sample has a positive label.
    """
    log_terms_BK = functional.logsigmoid(mixture.logits_BK) + log_kernel(features_BD, mixture)
    positive_BK = (targets_BK == 1) & known_BK
    # Samples without a positive label keep all elements in both sums: they add an exact 0 with a zero gradient, where
    # an empty log-sum-exp would make NaN.
    labelled_B1 = positive_BK.any(1, keepdim=True)
    log_all_B = log_terms_BK.masked_fill(labelled_B1 & ~known_BK, -torch.inf).logsumexp(1)
    log_positive_B = log_terms_BK.masked_fill(labelled_B1 & ~positive_BK, -torch.inf).logsumexp(1)
    return (log_all_B - log_positive_B).sum() / labelled_B1.sum().clamp(min=1)


def contrastive_loss(
    num_features: int, mixture: KernelMixture, targets_BK: Tensor, known_BK: Tensor, *, temperature: float
) -> Tensor:
    """Contrastive loss over pairs that share a positive class (METHOD.md, loss 3; corrected).

    Only rows (n, k) whose positive class k occurs in another sample need a log-sum-exp: O(P·B·C²) work and memory.
    A class unknown in either sample of a pair is left out of its Jaccard weight; a sample whose class k is unknown is
    left out of the denominators of class k. Pairs are those of the tensors given: one worker's batch (see above).

    Args:
        num_features: D, the dimensions that a kernel's scalar mean and variance stand for.
        mixture: kernels of the batch.
        targets_BK: 1 positive, else negative.
        known_BK: bool, elements that count.
        temperature: τ > 0.

    Returns:
        0-dimensional; 0 with a gradient graph where no two samples share a positive class.
    """
    positive_BK = (targets_BK == 1) & known_BK
    paired_K = positive_BK.sum(0) > 1
    class_P, sample_P = (positive_BK & paired_K).T.nonzero(as_tuple=True)
    similarity_PB = log_similarity(num_features, mixture, sample_P, class_P).exp() / temperature

    weights_PB = _pair_weights(positive_BK, known_BK, similarity_PB.dtype).index_select(0, sample_P)
    weights_PB *= positive_BK.T.to(similarity_PB.dtype).index_select(0, class_P)
    left_out_PB = (~known_BK).T.contiguous().index_select(0, class_P)
    left_out_PB.scatter_(1, sample_P.unsqueeze(1), True)
    # Never an empty sum: class k of each row is positive in another sample.
    log_sum_P = similarity_PB.masked_fill(left_out_PB, -torch.inf).logsumexp(1)
    return ((weights_PB.sum(1) * log_sum_P).sum() - (weights_PB * similarity_PB).sum()) / len(positive_BK)


def _pair_weights(positive_BK: Tensor, known_BK: Tensor, dtype: torch.dtype) -> Tensor:
    """J(n, j) / |A(n)| for j in A(n), 0 elsewhere (also on the diagonal)."""
    positive_BK, known_BK = positive_BK.to(dtype), known_BK.to(dtype)
    intersection_BB = positive_BK @ positive_BK.T
    own_BB = positive_BK @ known_BK.T
    union_BB = own_BB + own_BB.T - intersection_BB
    jaccard_BB = (intersection_BB / union_BB.clamp(min=1.0)).fill_diagonal_(0.0)
    return jaccard_BB / jaccard_BB.count_nonzero(1).clamp(min=1).unsqueeze(1)


class KmclLoss(nn.Module):
    """The whole objective: λ_asymmetric·L1 + λ_reconstruction·L2 + λ_contrastive·L3 (METHOD.md, Losses).

    Pairs of the contrastive term are formed within one worker's batch: an all-gather comes with the global batch.

    Args:
        objective: `kmcl` all three terms; `asymmetric` the asymmetric loss alone; `bce` binary cross-entropy alone.
            The last two are weighted by `asymmetric_weight`, so that the same weight means the same.
        temperature: τ > 0 of the contrastive term.
        asymmetric_weight: λ_asymmetric >= 0.
        reconstruction_weight: λ_reconstruction >= 0.
        contrastive_weight: λ_contrastive >= 0. A term of weight 0 is computed for the record but is no part of total.
        gamma_positive: focusing exponent of positive elements, >= 0.
        gamma_negative: focusing exponent of negative elements, >= 0.
        clip: probability margin that discards easy negatives, in [0, 1).
        detach_focusing: take the focusing weights without gradient, as released.

    Attributes:
        uses_kernels: whether the objective has kernel terms; only then do means, variances and component weights of
            the mixture receive gradients.

    Raises:
        ValueError: an argument is outside its range, or no term has a weight.
    """

    uses_kernels: bool

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
    ) -> None:
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"objective: got {objective!r}; wanted one of {', '.join(OBJECTIVES)}")
        if not 0.0 < temperature < math.inf:
            raise ValueError(f"temperature: got {temperature}; wanted a finite number above 0")
        if not 0.0 <= clip < 1.0:
            raise ValueError(f"clip: got {clip}; wanted a number in [0, 1)")
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
        self.objective = objective
        self.temperature = temperature
        self.asymmetric_weight = asymmetric_weight
        self.reconstruction_weight = reconstruction_weight
        self.contrastive_weight = contrastive_weight
        self.gamma_positive = gamma_positive
        self.gamma_negative = gamma_negative
        self.clip = clip
        self.detach_focusing = detach_focusing
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
        if not self._inputs_checked:
            _check_inputs(features_BD, mixture, targets_BK)
            self._inputs_checked = True
        with torch.autocast(features_BD.device.type, enabled=False):
            mixture = KernelMixture(*(_at_least_float32(part) for part in mixture))
            return self._compute(_at_least_float32(features_BD), mixture, targets_BK, targets_BK >= 0)

    def _compute(self, features_BD: Tensor, mixture: KernelMixture, targets_BK: Tensor, known_BK: Tensor) -> LossParts:
        logits_BK = mixture.logits_BK
        grad = torch.is_grad_enabled()
        with torch.set_grad_enabled(grad and self.asymmetric_weight > 0):
            if self.objective == "bce":
                asymmetric = binary_cross_entropy(logits_BK, targets_BK, known_BK)
            else:
                asymmetric = asymmetric_loss(
                    logits_BK,
                    targets_BK,
                    known_BK,
                    gamma_positive=self.gamma_positive,
                    gamma_negative=self.gamma_negative,
                    clip=self.clip,
                    detach_focusing=self.detach_focusing,
                )
        if not self.uses_kernels:
            zero = torch.zeros_like(asymmetric)
            return LossParts(self.asymmetric_weight * asymmetric, asymmetric, zero, zero)
        with torch.set_grad_enabled(grad and self.reconstruction_weight > 0):
            reconstruction = reconstruction_loss(features_BD, mixture, targets_BK, known_BK)
        with torch.set_grad_enabled(grad and self.contrastive_weight > 0):
            contrastive = contrastive_loss(
                features_BD.shape[1], mixture, targets_BK, known_BK, temperature=self.temperature
            )
        weighted = (
            (self.asymmetric_weight, asymmetric),
            (self.reconstruction_weight, reconstruction),
            (self.contrastive_weight, contrastive),
        )
        # Terms of weight 0 are left out, not multiplied by it: 0 · NaN is NaN.
        total = torch.stack([weight * term for weight, term in weighted if weight > 0]).sum()
        return LossParts(total, asymmetric, reconstruction, contrastive)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _check_inputs(features_BD: Tensor, mixture: KernelMixture, targets_BK: Tensor) -> None:
    if features_BD.dim() != 2:
        raise ValueError(f"features_BD: got shape {tuple(features_BD.shape)}; wanted 2 dimensions")
    if mixture.logits_BK.dim() != 2 or len(mixture.logits_BK) != len(features_BD):
        shape = tuple(mixture.logits_BK.shape)
        raise ValueError(f"logits_BK: got shape {shape}; wanted ({len(features_BD)}, classes)")
    if targets_BK.shape != mixture.logits_BK.shape:
        wanted = tuple(mixture.logits_BK.shape)
        raise ValueError(f"targets_BK: got shape {tuple(targets_BK.shape)}; wanted {wanted}, as logits_BK")
    wanted_BKC = (*mixture.logits_BK.shape, mixture.means_BKC.shape[-1])
    for name, part in zip(KernelMixture._fields[1:], mixture[1:], strict=True):
        if part.shape != wanted_BKC:
            raise ValueError(f"{name}: got shape {tuple(part.shape)}; wanted {wanted_BKC}")
    valid_BK = (targets_BK == 1) | (targets_BK == 0) | (targets_BK == -1)
    if not bool(valid_BK.all()):
        value = targets_BK[~valid_BK][0].item()
        raise ValueError(f"targets_BK: got the value {value}; wanted 1 positive, 0 negative, -1 unknown")
