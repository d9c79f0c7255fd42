"""The released losses in their plain form, with which `benchmarks.losses` compares the fast one.

Every pair of samples for every class (B x B x K), every feature for every class (B x D x K), in linear space.
"""

import torch
from torch import Tensor

from kmcl_platform.method.kernels.mixture_head import KernelMixture


def naive_loss(features_BD: Tensor, mixture: KernelMixture, targets_BK: Tensor, temperature: float = 0.17) -> Tensor:
    """The sum of the three terms for one kernel per class, isotropic or anisotropic."""
    logits_BK, targets_BK = mixture.logits_BK, targets_BK.to(features_BD.dtype)
    means_BRK = mixture.means_BKCR[:, :, 0].transpose(1, 2)
    variances_BRK = mixture.variances_BKCR[:, :, 0].transpose(1, 2)

    # 1. Asymmetric loss: -[y (1-p)^γ+ log p + (1-y) (1-q)^γ- log q], here with γ+ = 0, γ- = 4, clip 0.05.
    scores_BK = logits_BK.sigmoid()
    # q = min(1 - p + clip, 1)
    negative_BK = (1 - scores_BK + 0.05).clamp(max=1)
    log_BK = targets_BK * scores_BK.clamp(min=1e-7).log()
    log_BK = log_BK + (1 - targets_BK) * negative_BK.clamp(min=1e-7).log()
    # The focusing weights have no gradient, as released. The exponent is 0 for positives and 4 for negatives.
    with torch.no_grad():
        focus_BK = (1 - scores_BK * targets_BK - negative_BK * (1 - targets_BK)) ** (4 * (1 - targets_BK))
    asymmetric = -(log_BK * focus_BK).sum()

    # 2. Reconstruction: -log(Σ_{y=1} π g / Σ π g), g = exp(-½ Σ_d (f - μ)² / v). The floors are those of the released
    # code.
    distance_BK = ((features_BD.unsqueeze(2) - means_BRK) ** 2 / variances_BRK).sum(1)
    mass_BK = scores_BK * torch.exp(-0.5 * distance_BK).clamp(min=1.17549e-38)
    reconstruction = -((mass_BK * targets_BK).sum(1) / mass_BK.sum(1)).clamp(min=1e-7).log().mean()

    # 3. Contrastive: -log of the Bhattacharyya coefficient is ½ log((v+v') / (2 √(v v'))) + ¼ (μ-μ')² / (v+v').
    left, right = variances_BRK.unsqueeze(1), variances_BRK.unsqueeze(0)
    log_ratio_BBRK = 0.5 * torch.log((left + right) / (2 * (left * right).sqrt()))
    gap_BBRK = 0.25 * (means_BRK.unsqueeze(1) - means_BRK.unsqueeze(0)) ** 2 / (left + right)
    # Isotropic: each sum over D is D times its one term. Anisotropic: the released code multiplies by D and sums over
    # D.
    similarity_BBK = torch.exp(-features_BD.shape[1] * (log_ratio_BBRK + gap_BBRK).sum(2))
    others_BB = 1 - torch.eye(len(targets_BK), device=targets_BK.device)
    weights_BBK = torch.exp(similarity_BBK / temperature)
    # The denominator has all other samples, but not the anchor itself.
    ratio_BBK = weights_BBK / (weights_BBK * others_BB.unsqueeze(2)).sum(1, keepdim=True)
    shared_BBK = targets_BK.unsqueeze(1) * targets_BK.unsqueeze(0) * others_BB.unsqueeze(2)
    intersection_BB = shared_BBK.sum(2)
    union_BB = targets_BK.sum(1).unsqueeze(1) + targets_BK.sum(1).unsqueeze(0) - intersection_BB
    # `clamp`: two samples without labels have an empty union, and an intersection of 0.
    jaccard_BB = intersection_BB / union_BB.clamp(min=1)
    # The Jaccard weight is inside the logarithm, as released.
    terms_BB = -(torch.log(jaccard_BB.unsqueeze(2) * ratio_BBK + 1e-7) * shared_BBK).sum(2)
    # `clamp`: an anchor without a positive sample adds 0.
    contrastive = (terms_BB.sum(1) / (jaccard_BB > 0).sum(1).clamp(min=1)).mean()
    return asymmetric + reconstruction + contrastive
