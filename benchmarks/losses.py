"""Time and memory of the losses, forward and backward, compared with the plain formulas.

    python -m benchmarks.losses                  # on the CPU
    python -m benchmarks.losses --device cuda    # on a GPU, eager and compiled
    python -m benchmarks.losses --write          # also writes docs/losses-DEVICE.md

Times are medians over repeated runs. Forms that are compared run alternately in one process, so that a busy machine
slows all of them equally. Peak memory is the resident memory of a new process for each number, without its inputs.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.naive import naive_loss
from kmcl_platform.method.kernels.mixture_head import KernelMixture
from kmcl_platform.method.losses.kmcl import KmclLoss
from kmcl_platform.training.workers.memory import keep_freed_memory

SIZES = ((64, 20, 2048), (128, 80, 2048), (512, 80, 2048))
REDUCED = 128
"""Dimensions of anisotropic kernels: the number of reduced features."""
NAIVE_BYTES = 6e9
"""The naive form is left out if one of its B x B x D x K tensors would need more bytes than this."""


class Case(NamedTuple):
    """One line of the table."""

    batch_size: int
    num_classes: int
    num_features: int
    kernels_per_class: int = 1
    kernel: str = "isotropic"
    labels: float = 2.9
    form: str = "corrected"

    def __str__(self) -> str:
        return (
            f"({self.batch_size}, {self.num_classes}, {self.num_features}) | {self.kernel} | "
            f"{self.kernels_per_class} | {self.labels:g}"
        )


def draw(case: Case, device: torch.device) -> tuple[Tensor, KernelMixture, Tensor]:
    """Features, kernels and targets with `labels` positive labels per sample on average."""
    generator = torch.Generator().manual_seed(0)
    shape = (case.batch_size, case.num_classes, case.kernels_per_class)
    # R of the mixture: an anisotropic kernel has a value for each feature.
    size = case.num_features if case.kernel == "anisotropic" else 1

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    features = torch.randn(case.batch_size, case.num_features, generator=generator)
    log_weights = torch.zeros(shape) if case.kernels_per_class == 1 else uniform(*shape).log_softmax(-1)
    # As in a new head: means near 0, variances near 2.
    mixture = KernelMixture(
        torch.randn(shape[:2], generator=generator),
        0.1 * uniform(*shape, size),
        2 + 0.1 * uniform(*shape, size),
        log_weights,
    )
    targets = (uniform(*shape[:2]) < case.labels / case.num_classes).to(torch.int8)
    leaves = [part.to(device).requires_grad_() for part in (features, *mixture)]
    return leaves[0], KernelMixture(*leaves[1:]), targets.to(device)


def build(case: Case, device: torch.device, compiled: bool = False) -> Callable[[], object]:
    """One forward and backward pass."""
    features, mixture, targets = draw(case, device)
    inputs = (features, *mixture[: 4 if case.kernels_per_class > 1 else 3])
    if case.form == "naive":
        return lambda: torch.autograd.grad(naive_loss(features, mixture, targets), inputs)
    loss = KmclLoss(
        objective="kmcl",
        formulation=case.form,
        temperature=0.17,
        asymmetric_weight=1.0,
        reconstruction_weight=1.0,
        contrastive_weight=1.0,
        gamma_positive=0.0,
        gamma_negative=4.0,
        clip=0.05,
        detach_focusing=True,
        # On a GPU, counting the labels in each step would make the host wait.
        max_labels=int(targets.sum(1).max()) if device.type != "cpu" else None,
    ).to(device)
    loss(features, mixture, targets)  # checks the inputs, once
    run = torch.compile(loss) if compiled else loss
    return lambda: torch.autograd.grad(run(features, mixture, targets).total, inputs)


def time_in_turn(runs: list[Callable[[], object]], device: torch.device, seconds: float) -> list[float]:
    """Median milliseconds of each run; they alternate until the time is spent."""
    times: list[list[float]] = [[] for _ in runs]
    for run in runs:
        start = time.monotonic()
        run()
        # Warm-up: compilation, memory and caches are not part of the time.
        while time.monotonic() - start < min(0.1, seconds):
            run()
    stop = time.monotonic() + seconds
    while time.monotonic() < stop or len(times[0]) < 2:
        for run, taken in zip(runs, times, strict=True):
            # Several passes of a fast form for each one of a slow form. The first is not counted: caches are cold.
            for repeat in range(6):
                start = time.perf_counter()
                run()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                taken.append(1e3 * (time.perf_counter() - start))
                if taken[-1] > 50:
                    break
                if repeat == 0:
                    taken.pop()
    return [statistics.median(taken) for taken in times]


def naive_fits(case: Case) -> bool:
    size = case.num_features if case.kernel == "anisotropic" else 1
    return case.kernels_per_class == 1 and 4 * case.batch_size**2 * case.num_classes * size < NAIVE_BYTES


def measure_memory(case: Case) -> float:
    """Peak MiB without the inputs, of one forward and backward pass in a new process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.losses", "--memory-of", *(str(value) for value in tuple(case))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


def print_memory(case: Case) -> None:
    """Peak resident MiB of a pass, without what is resident before it (Linux only)."""
    build(case._replace(batch_size=8), torch.device("cpu"))()  # loads libraries
    run = build(case, torch.device("cpu"))
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the present value
    before = resident("VmRSS")
    run()
    print(max(0.0, (resident("VmHWM") - before) / 1024))


def resident(which: str) -> int:
    """A memory value of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(which)).split()[1])


def table(device: torch.device, seconds: float) -> list[str]:
    """The lines of the first table."""
    on_gpu = device.type == "cuda"
    heads = ["(B, K, D) | kernel | C | labels", "corrected", "released"]
    heads += ["corrected, compiled"] if on_gpu else []
    heads += ["naive", "naive / corrected"] + ([] if on_gpu else ["peak MiB, corrected", "peak MiB, naive"])
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * (" | ".join(heads).count("|") + 1)]
    for b, k, d in SIZES:
        for kernel, features in (("isotropic", d), ("anisotropic", REDUCED)):
            for kernels_per_class in (1, 3):
                case = Case(b, k, features, kernels_per_class, kernel)
                forms = ["corrected", "released"]
                runs = [build(case._replace(form=form), device) for form in forms]
                times = dict(zip(forms, time_in_turn(runs, device, seconds), strict=True))
                if naive_fits(case):
                    # Apart from the others: what it does to the memory, several GB, is not their cost.
                    [times["naive"]] = time_in_turn([build(case._replace(form="naive"), device)], device, seconds)
                cells = [f"{times['corrected']:.2f} ms", f"{times['released']:.2f} ms"]
                if on_gpu:
                    cells.append(f"{time_in_turn([build(case, device, compiled=True)], device, seconds)[0]:.2f} ms")
                if "naive" in times:
                    cells += [f"{times['naive']:.0f} ms", f"{times['naive'] / times['corrected']:.0f}"]
                else:
                    cells += ["-", "-"]
                if not on_gpu:
                    cells.append(f"{measure_memory(case):.0f}")
                    cells.append(f"{measure_memory(case._replace(form='naive')):.0f}" if "naive" in times else "-")
                lines.append(f"| {case} | {' | '.join(cells)} |")
                print(lines[-1], flush=True)
    return lines


def scaling(device: torch.device, seconds: float) -> list[str]:
    """Time for different numbers of positive labels per sample, with a straight line fitted to it."""
    lines = ["| (B, K, D) | 1 label | 2.9 labels | 8 labels | 16 labels | line | R² |", "|" + " --- |" * 7]
    labels = (1.0, 2.9, 8.0, 16.0)
    for b, k, d in SIZES[1:]:
        cases = [Case(b, k, d, labels=count) for count in labels]
        times = time_in_turn([build(case, device) for case in cases], device, 2 * seconds)
        counts = [int(draw(case, torch.device("cpu"))[2].sum()) for case in cases]
        # In the real number of positive labels, not in the expected one.
        slope, offset = np.polyfit(counts, times, 1)
        residual = np.array(times) - (slope * np.array(counts) + offset)
        r2 = 1 - (residual**2).sum() / ((np.array(times) - np.mean(times)) ** 2).sum()
        shown = " | ".join(f"{value:.2f} ms" for value in times)
        lines.append(f"| ({b}, {k}, {d}) | {shown} | {offset:.2f} ms + {1e3 * slope:.2f} µs a label | {r2:.4f} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seconds", type=float, default=4.0, help="spent on each line of the table")
    parser.add_argument("--write", action="store_true", help="write docs/losses-DEVICE.md")
    parser.add_argument("--memory-of", nargs=len(Case._fields), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    # As in a training worker: the gradients of distant kernels are denormal numbers, which CPUs compute very slowly.
    torch.set_flush_denormal(True)
    if arguments.memory_of:
        batch, classes, features, per_class, kernel, labels, formulation = arguments.memory_of
        sizes = (int(batch), int(classes), int(features), int(per_class))
        print_memory(Case(*sizes, kernel, float(labels), formulation))
        return
    keep_freed_memory()
    device = torch.device(arguments.device)
    lines = table(device, arguments.seconds)
    fit = scaling(device, arguments.seconds)
    if arguments.write:
        where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
        command = f"python -m benchmarks.losses --device {arguments.device} --write"
        text = HEAD.format(command=command, where=where, torch=torch.__version__, python=platform.python_version())
        path = Path(f"docs/losses-{arguments.device}.md")
        path.write_text("\n".join([text, *lines, SCALING, *fit, ""]))
        print(f"written: {path}")


HEAD = """# What the losses cost

Written by `{command}` ({where}, torch {torch}, Python {python}).

The times are those of one forward and backward pass of all three terms. The column `labels` is the number of positive
labels of each sample. `naive` is the released formula with B x B x K and B x D x K tensors
([`benchmarks/naive.py`](../benchmarks/naive.py), one kernel per class only). Anisotropic kernels use {reduced} reduced
features. Peak memory is what the pass needs in a new process, without the memory of the inputs.
""".replace("{reduced}", str(REDUCED))

SCALING = """
## Cost against the number of positive labels

The contrastive term needs one log-sum-exp for each positive label. Isotropic, one kernel per class, `corrected`:
"""

if __name__ == "__main__":
    main()
