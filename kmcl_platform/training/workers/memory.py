"""Memory of this process: its peak, and which errors mean that it ran out."""

import resource
import sys
from pathlib import Path

import torch

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
# Written to clear_refs, it resets the peak of resident memory (`man 5 proc`).
_RESET_PEAK = "5"


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
    """Peak memory in bytes: on a GPU the memory of torch's tensors, on a CPU the resident memory of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    # Kilobytes on Linux, bytes on macOS (`man getrusage` of each).
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out. On a CPU, torch raises a plain RuntimeError for it."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
