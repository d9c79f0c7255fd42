"""What does it bring that a worker keeps the memory that it frees (`keep_freed_memory`)?

    python -m benchmarks.kept_memory [--rounds 3]

The time of a training step of a timm network (forward, binary cross-entropy, backward, optimizer) on a CPU, and the
peak memory of the process, with and without. Each number comes from a process of its own; the two take turns.
"""

import argparse
import statistics
import subprocess
import sys
import time

import timm
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from kmcl_platform.training.workers.memory import keep_freed_memory, peak_memory

NETWORKS = (
    ("efficientnet_lite0", 64, 32, 20),
    ("efficientnet_lite0", 128, 32, 8),
    ("resnet18", 64, 64, 10),
    ("test_byobnet", 32, 64, 60),
)
"""Name, pixels, images of a batch, measured steps."""

CLASSES = 20


def print_step(name: str, pixels: int, batch_size: int, steps: int, *, keep: bool) -> None:
    """Median milliseconds of a step, and the peak memory in MiB."""
    if keep:
        keep_freed_memory()
    torch.set_flush_denormal(True)
    network = timm.create_model(name, num_classes=CLASSES).to(memory_format=torch.channels_last).train()
    images = torch.randn(batch_size, 3, pixels, pixels).contiguous(memory_format=torch.channels_last)
    targets = (torch.rand(batch_size, CLASSES) < 0.1).float()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    times = []
    for _ in range(3 + steps):
        start = time.perf_counter()
        loss = binary_cross_entropy_with_logits(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(1e3 * (time.perf_counter() - start))
    print(statistics.median(times[3:]), peak_memory(torch.device("cpu")) / 2**20)


def measure(case: tuple[object, ...], *, keep: bool) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks.kept_memory", "--step", *map(str, case), str(int(keep))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    milliseconds, peak = map(float, done.stdout.split())
    return milliseconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        name, *numbers = arguments.step
        pixels, batch_size, steps, keep = map(int, numbers)
        print_step(name, pixels, batch_size, steps, keep=bool(keep))
        return
    print("| network, pixels, batch | step: returned, kept | ratio | peak MiB: returned, kept |\n|---|---|---|---|")
    for case in NETWORKS:
        rounds = [(measure(case, keep=False), measure(case, keep=True)) for _ in range(arguments.rounds)]
        before, after = (statistics.median(one[side][0] for one in rounds) for side in (0, 1))
        ratio = statistics.median(kept[0] / returned[0] for returned, kept in rounds)
        peaks = [statistics.median(one[side][1] for one in rounds) for side in (0, 1)]
        print(
            f"| {case[0]}, {case[1]}, {case[2]} | {before:.1f} ms, {after:.1f} ms | {ratio:.2f} | "
            f"{peaks[0]:.0f}, {peaks[1]:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
