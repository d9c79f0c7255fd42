"""How a network computes on a device: its floating-point type, the layout of its inputs, the choice of operations."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_logger = logging.getLogger(__name__)


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
def chosen_operations(*, deterministic: bool, tf32: bool) -> Iterator[None]:
    """Inside, the operations of PyTorch are those of a trial; after it, those of before. CPUs have no choice.

    Args:
        deterministic: all operations give the same numbers each time. One that cannot do that raises a RuntimeError.
            False: cuDNN tries its algorithms for each shape of an input and takes the fastest one. It may be another
            one the next time. The shapes of a training are the same at every step.
        tf32: matrix products of float32 have the precision of TF32.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_float32_matmul_precision(),
    )
    torch.use_deterministic_algorithms(deterministic or before[0])
    torch.backends.cudnn.benchmark = not deterministic
    if tf32:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
        torch.set_float32_matmul_precision(before[2])


def compile_network(network: nn.Module) -> None:
    """Let `torch.compile` translate a network at its next call, in its place: names and weights stay as they are.

    A copy of the network, such as an average of its weights, is not compiled. Networks of one architecture share the
    result within a process. If the translation fails, a line in the log says why, and the network runs as before.
    """
    network.compile()
    compiled = network._compiled_call_impl

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return compiled(*args, **kwargs)  # type: ignore[misc]  # a function since `compile`
        except Exception as error:
            network._compiled_call_impl = None
            # An error of the network itself comes again here, as it would without `compile`.
            result = network(*args, **kwargs)
            reason = " ".join(str(error).split())[:300]
            _logger.warning("optim.compile: got true, and torch.compile failed (%s); the trial goes on without", reason)
            return result

    network._compiled_call_impl = call


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
