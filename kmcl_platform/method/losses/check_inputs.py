"""Checks of what the objective is given: its settings, and the shapes and values of its inputs.

Shape suffixes: B batch, D features, K classes, C kernels per class, R values of one kernel's mean or variance (1 or D).
"""

import math

from torch import Tensor

from kmcl_platform.method.kernels.mixture_head import KernelMixture


def check_choice(name: str, value: str, valid: tuple[str, ...]) -> None:
    """Raise ValueError unless the value is one of the valid ones."""
    if value not in valid:
        raise ValueError(f"{name}: got {value!r}; valid: {', '.join(valid)}")


def check_settings(
    temperature: float, clip: float, max_labels: int | None, label_smoothing: float, **non_negative: float
) -> None:
    """Raise ValueError if a number is outside its range.

    Args:
        temperature: finite and above 0.
        clip: at least 0 and below 1.
        max_labels: at least 1, or None.
        label_smoothing: at least 0 and below 1.
        non_negative: settings that are finite and at least 0, by name.
    """
    if not 0.0 < temperature < math.inf:
        raise ValueError(f"temperature: got {temperature}; valid: a finite number above 0")
    for name, share in (("clip", clip), ("label_smoothing", label_smoothing)):
        if not 0.0 <= share < 1.0:
            raise ValueError(f"{name}: got {share}; valid: a number of at least 0 and below 1")
    if max_labels is not None and max_labels < 1:
        raise ValueError(f"max_labels: got {max_labels}; valid: a number of at least 1")
    for name, value in non_negative.items():
        if not 0.0 <= value < math.inf:
            raise ValueError(f"{name}: got {value}; valid: a finite number of at least 0")


def check_inputs(features_BD: Tensor, mixture: KernelMixture, targets_BK: Tensor, *, with_kernels: bool = True) -> None:
    """Raise ValueError if shapes do not fit each other, or a target is none of 1, 0 and -1.

    The check of the targets' values makes the host wait for the device.

    Args:
        features_BD: as `KmclLoss.forward`, like the next two.
        mixture: of the same samples.
        targets_BK: of the same samples.
        with_kernels: the mixture must have kernels. False: it may have none (C = 0).
    """
    if features_BD.dim() != 2:
        raise ValueError(f"features_BD: got shape {tuple(features_BD.shape)}; valid: 2 dimensions")
    if mixture.logits_BK.dim() != 2 or len(mixture.logits_BK) != len(features_BD):
        shape = tuple(mixture.logits_BK.shape)
        raise ValueError(f"logits_BK: got shape {shape}; valid: ({len(features_BD)}, classes)")
    if targets_BK.shape != mixture.logits_BK.shape:
        wanted = tuple(mixture.logits_BK.shape)
        raise ValueError(f"targets_BK: got shape {tuple(targets_BK.shape)}; valid: {wanted}, as logits_BK")
    num_classes, num_features = mixture.logits_BK.shape[1], features_BD.shape[1]
    means_BKCR = mixture.means_BKCR
    if means_BKCR.dim() != 4 or means_BKCR.shape[:2] != mixture.logits_BK.shape or (means_BKCR.shape[2] < with_kernels):
        raise ValueError(
            f"means_BKCR: got shape {tuple(means_BKCR.shape)}; valid: ({len(features_BD)}, {num_classes}, kernels per "
            f"class, 1 or {num_features})"
        )
    if means_BKCR.shape[3] not in (1, num_features):
        raise ValueError(
            f"means_BKCR: got {means_BKCR.shape[3]} values for each kernel; valid: 1 or {num_features}, the features"
        )
    for name, part, shape in (
        ("variances_BKCR", mixture.variances_BKCR, means_BKCR.shape),
        ("log_weights_BKC", mixture.log_weights_BKC, means_BKCR.shape[:3]),
    ):
        if part.shape != shape:
            raise ValueError(f"{name}: got shape {tuple(part.shape)}; valid: {tuple(shape)}")
    # Not by the range: targets may be floating-point numbers, of which 0.5 is between 0 and 1.
    valid_BK = (targets_BK == 1) | (targets_BK == 0) | (targets_BK == -1)
    if not bool(valid_BK.all()):
        value = targets_BK[~valid_BK][0].item()
        raise ValueError(f"targets_BK: got the value {value}; valid: 1 positive, 0 negative, -1 unknown")
