"""Floats below the normal range are 0 while a trial trains, and only then."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def small_floats_are_zero() -> Iterator[None]:
    """Flush floats below the normal range to 0 on this thread's CPU inside a block or a decorated function.

    Kernels far from a feature have gradients that are too small for normal floats, and CPUs are many times slower with
    such numbers. The setting applies to the whole thread, so the earlier one returns at the end: an `--inline` search
    trains in the process of the program that called it, whose own numbers must not change.
    """
    # torch can change this setting but not return it. The product of a number below float64's normal range shows it.
    before = bool((torch.tensor([1e-310], dtype=torch.float64) * 1 == 0).item())
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
