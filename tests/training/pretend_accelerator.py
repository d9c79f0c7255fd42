"""An accelerator that does not exist: what a trial would do on a GPU, seen on a machine without one.

The tensors are PyTorch's fake tensors: they have a device, a shape and a type, and no values. The device is one that
this build of PyTorch knows by name only. An operation on tensors of two devices is an error, as on a GPU. Reading a
value of the device, for which a real program waits, is counted.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import optimizer
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("lazy", 0)

COLLECTIVES = ("all_reduce", "broadcast", "all_gather", "all_gather_into_tensor", "reduce_scatter_tensor")

_READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)


class Accelerator:
    """What happened while the accelerator was there.

    Attributes:
        waits: for each time that the program waited for the device, where it did.
        sent: for each tensor in a collective operation, the operation and the type of the tensor's device.
    """

    def __init__(self) -> None:
        self.waits: list[str] = []
        self.sent: list[tuple[str, str]] = []


class _Fakes(FakeTensorMode):
    """A copy of a fake tensor, such as those of an average of weights, belongs to the same mode."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Fakes":
        return self


class _Reads(TorchDispatchMode):
    """Counts reads of the device. A value that is read is 1, and a tensor that is copied to the CPU has ones."""

    def __init__(self, accelerator: Accelerator) -> None:
        super().__init__()
        self._accelerator = accelerator

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        on_device = first is not None and first.device.type == DEVICE.type
        copied = func is torch.ops.aten._to_copy.default and kwargs.get("device") == torch.device("cpu")
        if on_device and (func in _READS or copied) and not kwargs.get("non_blocking"):
            frames = [f for f in traceback.extract_stack() if "/kmcl_platform/" in f.filename]
            self._accelerator.waits.append(f"{frames[-1].name}: {frames[-1].line}" if frames else str(func))
        if func is torch.ops.aten._local_scalar_dense.default:
            return {torch.bool: True}.get(first.dtype, 1.0 if first.is_floating_point() else 1)
        return func(*args, **kwargs)


@contextmanager
def pretend_accelerator(num_workers: int = 1) -> Iterator[Accelerator]:
    """Everything inside computes with fake tensors; this process is the first of a group that has no other members."""
    accelerator = Accelerator()
    if num_workers > 1:
        dist.init_process_group("fake", rank=0, world_size=num_workers, store=FakeStore())
    try:
        with ExitStack() as stack:
            for patch in (
                _Fakes(),
                _Reads(accelerator),
                mock.patch.object(nn.Module, "to", _move),
                # PyTorch refuses to make a context for a device that is not there, also one that changes nothing.
                mock.patch.object(torch, "autocast", lambda *_, **__: nullcontext()),
                mock.patch.object(optimizer, "_get_fused_kernels_supported_devices", lambda: ["cpu", DEVICE.type]),
                *(mock.patch.object(dist, name, _watched(accelerator, name)) for name in COLLECTIVES),
            ):
                stack.enter_context(patch)
            yield accelerator
    finally:
        if num_workers > 1:
            dist.destroy_process_group()


def _watched(accelerator: Accelerator, name: str) -> Callable[..., Any]:
    real = getattr(dist, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        for argument in args:
            for tensor in argument if isinstance(argument, list) else [argument]:
                if isinstance(tensor, torch.Tensor):
                    accelerator.sent.append((name, tensor.device.type))
        return real(*args, **kwargs)

    return call


def _move(module: nn.Module, device: Any = None, **_: Any) -> nn.Module:
    """`Module.to`, which cannot exchange fake tensors that something refers to."""
    if device is None:
        return module
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(parameter.detach().to(device))
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = buffer.to(device)
    return module
