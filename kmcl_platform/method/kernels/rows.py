"""Rows: the labels (n, k) for which similarities to all samples are computed.

Shape suffixes: B batch, K classes, P rows, X stacked quantities, R values of a kernel, C kernels per class.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """Labels (n, k) whose similarities to all samples are wanted.

    Attributes:
        sample_P: n of each row.
        class_P: k of each row.
    """

    sample_P: Tensor
    class_P: Tensor


def flat_index(rows: Rows, batch_size: int) -> Tensor:
    """The position k·B + n of each row's own kernel in a (K, B) tensor that was flattened."""
    return torch.add(rows.sample_P, rows.class_P, alpha=batch_size)


def flatten_rows(part_XRCKB: Tensor) -> Tensor:
    """(X, R, C, K, B) as (X, R, C, K·B), without a copy, so that `flat_index` selects in the last dimension."""
    return part_XRCKB.view(*part_XRCKB.shape[:3], -1)
