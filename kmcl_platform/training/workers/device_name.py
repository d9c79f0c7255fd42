"""What a trial trains on, in words."""

import platform
from functools import cache
from pathlib import Path

import torch

from kmcl_platform.training.workers.distributed import Workers

_PROCESSORS = Path("/proc/cpuinfo")


def group_devices(workers: Workers) -> str:
    """The models of the GPUs or CPUs of all workers, each once, with commas; all workers call this together."""
    return ", ".join(sorted(set(workers.gather(device_name(workers.device)))))


def device_name(device: torch.device) -> str:
    """The model of a GPU, or of this machine's CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


@cache
def _processor() -> str:
    # Python's own answer is empty on Linux, or the architecture alone.
    if _PROCESSORS.exists():
        for line in _PROCESSORS.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            # Processors of ARM have no such line.
            if name.strip() == "model name" and value.strip():
                return " ".join(value.split())
    return platform.processor() or platform.machine()
