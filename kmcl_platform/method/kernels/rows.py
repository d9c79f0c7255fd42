"""Rows: the labels (n, k) for which similarities to all samples are computed.

Shape suffixes: B batch, K classes, P rows, X stacked quantities, R values of a kernel, C kernels per class.
"""

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

_BLOCK_ELEMENTS = 2**18
"""Elements of a pairwise quantity in one block on a CPU: 1 MB in float32, which fits in its cache."""

_BLOCK_ELEMENTS_ON_ACCELERATORS = 2**26
"""The same on a GPU: 256 MB. There the memory is the limit, and fewer blocks mean fewer kernel launches."""

ClassRows: TypeAlias = list[tuple[int, int]]
"""Classes, each with its number of rows, which are neighbours."""


class Rows(NamedTuple):
    """Labels (n, k) whose similarities to all samples are wanted.

    Attributes:
        sample_P: n of each row.
        class_P: k of each row.
        classes: the classes of the rows, in their order, if the host knows them.
    """

    sample_P: Tensor
    class_P: Tensor
    classes: ClassRows | None = None


def flat_index(rows: Rows, batch_size: int) -> Tensor:
    """The position k·B + n of each row's own kernel in a (K, B) tensor that was flattened."""
    return torch.add(rows.sample_P, rows.class_P, alpha=batch_size)


def flatten_rows(part_XRCKB: Tensor) -> Tensor:
    """(X, R, C, K, B) as (X, R, C, K·B), without a copy, so that `flat_index` selects in the last dimension."""
    return part_XRCKB.view(*part_XRCKB.shape[:3], -1)


def block_limit(device: torch.device, on_cpu: int | None = None) -> int:
    """How many pairwise values to compute together on a device; `on_cpu`: the number for CPUs, if it is another one."""
    return (on_cpu or _BLOCK_ELEMENTS) if device.type == "cpu" else _BLOCK_ELEMENTS_ON_ACCELERATORS
