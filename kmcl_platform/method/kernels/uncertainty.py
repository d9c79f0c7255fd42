"""The uncertainty of each label, computed from the variance of its kernels.

Shape suffixes: B batch, K classes, C kernels per class, R values of one kernel's variance (1 or D features).
"""

from torch import Tensor

from kmcl_platform.method.kernels.mixture_head import KernelMixture


def label_uncertainty(mixture: KernelMixture) -> Tensor:
    """Uncertainty u = 1 - 1/v̄ of each label, with v̄ = Σ_c α_c v_c (docs/method.md, Uncertainty).

    A kernel with several variances (R > 1) enters with their geometric mean, v_c = (Π_r v_cr)^(1/R): the isotropic
    variance of the same determinant. Variances are above 1, so u rises with each of them from 0 towards 1.

    The paper (arXiv 2307.03967) takes the variance as the encoder's uncertainty; the scale u is this project's. The
    kernels `mahalanobis` and `rbf` share one variance between all labels of an image, so u ranks images there, not
    labels. Without a kernel term in the objective the variances are not trained and u has no meaning.

    Args:
        mixture: kernels with variances_BKCR above 1 and component weights that sum to 1 over C.

    Returns:
        uncertainty_BK in [0, 1), in the dtype of the variances. float32 rounds u to 1 for v̄ above 3e7.
    """
    log_variances_BKC = mixture.variances_BKCR.log().mean(3)
    log_mean_BK = (mixture.log_weights_BKC + log_variances_BKC).logsumexp(2)
    # 1 - 1/v̄ = -expm1(-log v̄) keeps its digits for v̄ near 1. The clamp: component weights sum to 1 only to rounding,
    # so v̄ can come out just below 1.
    return -(-log_mean_BK.clamp(min=0.0)).expm1()
