"""Memory of this process: what it keeps, its peak, and which errors mean that it ran out."""

import ctypes
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
# Written to clear_refs, it resets the peak of resident memory (`man 5 proc`).
_RESET_PEAK = "5"

# Parameters of glibc's mallopt (`man 3 mallopt`), and the values that turn off what they limit.
_M_TRIM_THRESHOLD, _NEVER = -1, -1
_M_MMAP_MAX, _NONE = -4, 0

_OUT_OF_MEMORY = re.compile(
    r"out of memory"  # CUDA, and NCCL which repeats CUDA's words
    r"|(ALLOC|ALLOCATION)_FAILED"  # cuBLAS and cuDNN
    r"|can't allocate memory|bad_alloc",  # the allocator of CPUs, and C++
    re.IGNORECASE,
)


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for its next tensors. A worker alone calls this, once.

    By default glibc returns large blocks to the system, which clears every page before the next step uses it: up to a
    tenth of a step on CPUs (docs/decisions.md). `release_freed_memory` returns what is kept. The rules of other C
    libraries stay as they are.
    """
    if (mallopt := _c_function("mallopt")) is not None:
        mallopt(_M_MMAP_MAX, _NONE)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)


def release_freed_memory() -> None:
    """Return freed memory to the system: the next trial's peak begins without what this one needed."""
    if (malloc_trim := _c_function("malloc_trim")) is not None:
        malloc_trim(0)


def _c_function(name: str) -> Callable[..., int] | None:
    """A function of glibc. None: this process has another C library."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory` count from now on. If the system does not allow that, it counts from the process's start."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR_REFS.exists():
        try:
            _CLEAR_REFS.write_text(_RESET_PEAK)
        except PermissionError:
            # A kernel may forbid this. The peak since the process's start is then an upper bound.
            return


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: of the GPU, or on a CPU the resident memory of the process.

    On a GPU it is what PyTorch took for tensors, with blocks that it keeps, and what is outside of PyTorch: the CUDA
    context and the buffers of libraries. If other processes use the GPU, their memory counts too.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        outside = total - free - torch.cuda.memory_reserved(device)
        return torch.cuda.max_memory_reserved(device) + max(0, outside)
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    # Kilobytes on Linux, bytes on macOS (`man getrusage` of each).
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, of a GPU or of the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Only PyTorch's allocator on GPUs has a type of its own. The libraries below it say it in words, in a RuntimeError.
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


def limit_gpu_memory(device: torch.device, share: float) -> None:
    """Give this process its share of a GPU's memory, so that it cannot take what another trial on the GPU needs.

    Args:
        device: of this process. On a CPU nothing changes.
        share: of the GPU, in (0, 1]. Beyond it, PyTorch's allocator raises the error of a full GPU.
    """
    if device.type == "cuda" and share < 1:
        torch.cuda.set_per_process_memory_fraction(share, device)
