"""How a network computes on a device: its floating-point type, the layout of its inputs, the choice of operations."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """The type of a network's matrix products and convolutions. The loss and the metrics always have float32.

    Attributes:
        device: the type of the device, such as `cuda`.
        dtype: bfloat16 or float16. None: float32.
    """

    device: str
    dtype: torch.dtype | None = None

    @property
    def needs_scaling(self) -> bool:
        """Whether gradients must be scaled: float16 has a smaller range than float32, bfloat16 has the same."""
        return self.dtype is torch.float16

    def autocast(self) -> torch.autocast:
        """A context in which networks compute with this type."""
        return torch.autocast(self.device, dtype=self.dtype, enabled=self.dtype is not None)


def choose_precision(device: torch.device, *, mixed: bool) -> Precision:
    """The fastest type of a device that trains as well as float32.

    It is bfloat16 on GPUs that compute with it, float16 on older ones, and float32 on CPUs.

    Args:
        device: where the network is.
        mixed: False: float32 everywhere.
    """
    if device.type != "cuda" or not mixed:
        return Precision(device.type)
    # Without the argument, PyTorch also says yes for GPUs such as V100 and T4, where bfloat16 is slower than float32.
    has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return Precision(device.type, torch.bfloat16 if has_bfloat16 else torch.float16)


def to_device(inputs: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The inputs of a model on its device: images with channels last, or features."""
    layout = torch.channels_last if inputs.ndim == 4 else torch.preserve_format
    return inputs.to(device, non_blocking=True, memory_format=layout)


@contextmanager
def deterministic_operations(wanted: bool) -> Iterator[None]:
    """Inside, all operations of PyTorch give the same numbers each time, also on a GPU; after it, as before.

    An operation that cannot do that raises a RuntimeError. On CPUs all of ours do anyway.

    Args:
        wanted: False: nothing changes.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    # It compares algorithms by their time, and so may choose another one each time.
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


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
