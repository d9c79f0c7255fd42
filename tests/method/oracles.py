"""The formulas of docs/method.md in plain loops over floats: slow, and independent of the package's own code."""

import math

import numpy as np
from torch import Tensor

from kmcl_platform.method.kernels.mixture_head import KernelMixture


def as_arrays(mixture: KernelMixture) -> KernelMixture:
    """The same numbers as NumPy arrays: reading one element of a tensor takes twenty times as long."""
    return KernelMixture(*(np.asarray(part) for part in mixture))  # type: ignore[arg-type]


def asymmetric(z: Tensor, y: Tensor, *, gamma_positive: float, gamma_negative: float, clip: float) -> float:
    """Summed over samples and classes, as released."""
    total = 0.0
    for n in range(len(y)):
        for k in range(y.shape[1]):
            p = 1 / (1 + math.exp(-float(z[n, k])))
            q = min(1 - p + clip, 1.0)
            if y[n, k] == 1:
                total -= (1 - p) ** gamma_positive * math.log(max(p, 1e-7))
            elif y[n, k] == 0:
                total -= (1 - q) ** gamma_negative * math.log(max(q, 1e-7))
    return total


def binary_cross_entropy(z: Tensor, y: Tensor) -> float:
    total = 0.0
    for n in range(len(y)):
        for k in range(y.shape[1]):
            p = 1 / (1 + math.exp(-float(z[n, k])))
            if y[n, k] == 1:
                total -= math.log(p)
            elif y[n, k] == 0:
                total -= math.log(1 - p)
    return total


def kernel(f: Tensor, mixture: KernelMixture, n: int, k: int, scale: float = 1.0) -> float:
    total = 0.0
    f, mixture = np.asarray(f), as_arrays(mixture)  # type: ignore[assignment]
    num_features, size = f.shape[1], mixture.means_BKCR.shape[3]
    for c in range(mixture.means_BKCR.shape[2]):
        exponent = 0.0
        for d in range(num_features):
            r = d if size > 1 else 0
            exponent += (float(f[n, d]) - float(mixture.means_BKCR[n, k, c, r])) ** 2 / float(
                mixture.variances_BKCR[n, k, c, r]
            )
        total += math.exp(float(mixture.log_weights_BKC[n, k, c])) * math.exp(-0.5 * scale * exponent)
    return total


def reconstruction(
    f: Tensor, mixture: KernelMixture, y: Tensor, *, released: bool = False, scale: float = 1.0
) -> list[float]:
    """One value for each sample that has a positive label."""
    values = []
    for n in range(len(y)):
        positive = everything = 0.0
        for k in range(y.shape[1]):
            g = kernel(f, mixture, n, k, scale)
            if released:
                g = max(g, 1.17549e-38)
            pi = 1 / (1 + math.exp(-float(mixture.logits_BK[n, k])))
            positive += pi * g if y[n, k] == 1 else 0.0
            everything += pi * g if y[n, k] >= 0 else 0.0
        if released:
            values.append(-math.log(max(positive / everything if everything else 0.0, 1e-7)))
        elif positive > 0:
            values.append(-math.log(positive / everything))
    return values


def log_bhattacharyya(mixture: KernelMixture, k: int, n: int, c: int, j: int, d: int, factor: float) -> float:
    """Log ρ of component c in sample n and component d in sample j; `factor` multiplies the sum over R."""
    total = 0.0
    for r in range(mixture.means_BKCR.shape[3]):
        va, vb = float(mixture.variances_BKCR[n, k, c, r]), float(mixture.variances_BKCR[j, k, d, r])
        gap = float(mixture.means_BKCR[n, k, c, r]) - float(mixture.means_BKCR[j, k, d, r])
        total += 0.5 * math.log((va + vb) / (2 * math.sqrt(va * vb))) + 0.25 * gap**2 / (va + vb)
    return -factor * total


def similarity(mixture: KernelMixture, k: int, n: int, j: int, factor: float) -> float:
    mixture = as_arrays(mixture)
    components = range(mixture.means_BKCR.shape[2])

    def inner(a: int, b: int) -> float:
        return sum(
            math.exp(
                float(mixture.log_weights_BKC[a, k, c] + mixture.log_weights_BKC[b, k, d])
                + log_bhattacharyya(mixture, k, a, c, b, d, factor)
            )
            for c in components
            for d in components
        )

    return inner(n, j) / math.sqrt(inner(n, n) * inner(j, j))


def contrastive(mixture: KernelMixture, y: Tensor, tau: float, factor: float, *, released: bool = False) -> list[float]:
    """One value for each sample."""
    mixture, y = as_arrays(mixture), np.asarray(y)  # type: ignore[assignment]
    num_samples, num_classes = y.shape
    values = []
    for n in range(num_samples):
        total = 0.0
        jaccard: dict[int, float] = {}
        for j in range(num_samples):
            both_known = [k for k in range(num_classes) if y[n, k] >= 0 and y[j, k] >= 0]
            shared = [k for k in both_known if y[n, k] == 1 and y[j, k] == 1]
            either = [k for k in both_known if y[n, k] == 1 or y[j, k] == 1]
            if j != n and shared:
                jaccard[j] = len(shared) / len(either)
        for j, weight in jaccard.items():
            for k in range(num_classes):
                if y[n, k] == 1 and y[j, k] == 1:
                    others = [i for i in range(num_samples) if i != n and y[i, k] >= 0]
                    mass = sum(math.exp(similarity(mixture, k, n, i, factor) / tau) for i in others)
                    ratio = math.exp(similarity(mixture, k, n, j, factor) / tau) / mass
                    total -= math.log(weight * ratio + 1e-7) if released else weight * math.log(ratio)
        values.append(total / len(jaccard) if jaccard else 0.0)
    return values
