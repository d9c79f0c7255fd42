"""Uncertainty of each label, read off the variance of its kernels.

Shape suffixes: B batch, K classes, C kernels per class, R values of one kernel's variance (1 or D features).
"""

from torch import Tensor

from kmcl_platform.method.kernels.mixture_head import KernelMixture


def label_uncertainty(mixture: KernelMixture) -> Tensor:
    """Uncertainty u = 1 - 1/v̄ of each label, v̄ = Σ_c α_c v_c, the variance of its kernels weighted by component.

    A kernel with several variances (R > 1) enters by their geometric mean, v_c = (Π_r v_cr)^(1/R), which is the
    isotropic variance of the same determinant. Variances are above 1, so u rises with each of them from 0 towards 1.

    KMCL (arXiv 2307.03967) takes this variance for the encoder's uncertainty; the scale is this project's. With kernels
    `mahalanobis` and `rbf`, whose variance all labels of an image share, u is the same for all labels of an image: it
    then ranks images, not labels. It means nothing where the objective has trained no kernels.

    Args:
        mixture: kernels with variances_BKCR above 1 and component weights that sum to 1 over C.

    Returns:
        uncertainty_BK in [0, 1), in the dtype of the variances (float32 rounds to 1 what comes from v̄ above 3e7).
    """
    log_variances_BKC = mixture.variances_BKCR.log().mean(3)
    log_mean_BK = (mixture.log_weights_BKC + log_variances_BKC).logsumexp(2)
    # expm1 keeps the digits of variances near 1; weights that sum to 1 only to rounding may give a v̄ just below it.
    return -(-log_mean_BK.clamp(min=0.0)).expm1()
