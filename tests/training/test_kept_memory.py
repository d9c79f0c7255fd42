"""A worker keeps the memory that it frees for its next tensors, and returns it after a trial."""

import subprocess
import sys
from pathlib import Path

import pytest

from kmcl_platform.training.workers.memory import keep_freed_memory, release_freed_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and glibc alone has these settings")

MEBIBYTE = 2**20


def resident() -> int:
    """Resident memory of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def print_residents() -> None:
    """MiB that are resident beyond the start: with a tensor, after it is freed, and after the release."""
    import torch

    keep_freed_memory()
    start = resident()
    tensor = torch.ones(64 * MEBIBYTE)
    sizes = [resident()]
    del tensor
    sizes.append(resident())
    release_freed_memory()
    sizes.append(resident())
    sys.stdout.write(" ".join(str(round((size - start) / MEBIBYTE)) for size in sizes))


def test_freed_memory_is_kept_until_it_is_released() -> None:
    done = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True, check=True)
    full, freed, released = map(int, done.stdout.split())
    assert full > 240
    assert freed > 240
    assert released < 40


if __name__ == "__main__":
    print_residents()
