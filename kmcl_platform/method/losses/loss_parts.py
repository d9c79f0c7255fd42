"""The result of the objective, and the factors of its terms at one step."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class TermFactors(NamedTuple):
    """What the weighted terms are multiplied by at one step of a training.

    Attributes:
        kernels: factor of the reconstruction and the contrastive term, at least 0. 0 leaves them out of the sum.
        each_3: one more factor for each of the three terms, at least 0, on their device. None: 1 for each.
    """

    kernels: float = 1.0
    each_3: Tensor | None = None


NO_FACTORS = TermFactors()
"""All terms have their weights."""


class LossParts(NamedTuple):
    """The loss that a training step minimises, and its terms without their weights; all 0-dimensional.

    Attributes:
        total: the weighted sum of the terms, the only part with a gradient.
        asymmetric: the asymmetric loss; binary cross-entropy for the objective `bce`.
        reconstruction: the reconstruction loss; 0 for objectives without kernels.
        contrastive: the contrastive loss; 0 for objectives without kernels.
    """

    total: Tensor
    asymmetric: Tensor
    reconstruction: Tensor
    contrastive: Tensor


def add_terms(
    sums: Sequence[Tensor], counts: Tensor, weights: Sequence[float], factors: TermFactors, weights_3: Tensor
) -> LossParts:
    """The means of the terms, and their weighted sum with a step's factors.

    A term of weight 0 is left out of the sum: multiplied by 0, a NaN in it would still make the sum NaN.

    Args:
        sums: the sum of each term: one without kernels, else three.
        counts: the count that makes each sum a mean.
        weights: of the three terms, with the factor `factors.kernels`. One of them at least is above 0.
        factors: of this step.
        weights_3: the weights without factors, on the device of the terms.
    """
    means = torch.stack(list(sums)) / counts
    used = [i for i, weight in enumerate(weights[: len(sums)]) if weight > 0]
    if len(used) == 3 and factors.kernels == 1.0 and factors.each_3 is None:
        # One operation instead of several: most trials have all terms and no factors.
        total = torch.dot(means, weights_3.to(means.dtype))
    else:
        scaled = means if factors.each_3 is None else means * factors.each_3[: len(sums)]
        total = torch.stack([scaled[i] * weights[i] for i in used]).sum()
    parts = list(means.detach().unbind())
    while len(parts) < 3:
        parts.append(torch.zeros_like(total))
    return LossParts(total, *parts)


def weighted_terms(
    sums: Sequence[Tensor], counts: Tensor, weights: Sequence[float], factors: TermFactors
) -> list[Tensor | None]:
    """The summands of `add_terms`, without a common node in the graph: each can be differentiated alone.

    None: a term that is left out, or one that the objective does not have.
    """
    terms: list[Tensor | None] = []
    for place, (value, count, weight) in enumerate(zip(sums, counts, weights, strict=False)):
        term = weight * value / count if weight > 0 else None
        if term is not None and factors.each_3 is not None:
            term = term * factors.each_3[place]
        terms.append(term)
    return terms + [None] * (3 - len(terms))
