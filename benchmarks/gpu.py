"""What a GPU does in a training step: its parts, its waits, a plain timm step beside it, evaluation, and the loader.

    python -m benchmarks.gpu [--minutes 4] [--out FOLDER] [--device cuda]

For each network, batch and number of kernels, eager and with `optim.compile`: milliseconds of a whole step (the
median of several), of its forward pass, loss, backward pass, optimizer and average of weights (each is waited for, so
their sum is a little more), and its images per second as a share of those of a plain step: the same timm network with
its classifier, binary cross-entropy, the same precision and optimizer, in the same run. A wait is an operation for
which the host waits for the GPU; the step may have none. The evaluation scores uint8 images that are in memory already.
The last two lines have the images per second of the augmentation `released` in batches on the device, and of a core
that decodes and augments, with the number of cores that feed the fastest step.

When the minutes are spent, the remaining cases are left out, and said so. FOLDER/gpu.json has all figures.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.step import median_ms
from kmcl_platform.components.augmentations.released import Released
from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.trial_config import ModelConfig, TrialConfig
from kmcl_platform.data.augmentation.batches import draw_epoch
from kmcl_platform.training.build import build_loss, build_model
from kmcl_platform.training.device import choose_precision, compile_network
from kmcl_platform.training.optim import MovingAverage
from kmcl_platform.training.step import TrainStep

CLASSES, LABELS = 80, 2.9
"""Those of COCO."""

NETWORKS, BATCHES, KERNELS = ("tresnet_m", "convnext_tiny"), (64, 256), (1, 4)


class Case:
    """One network with its batch, as the platform trains it."""

    def __init__(self, network: str, batch: int, kernels: int, size: int, device: torch.device, compiled: bool) -> None:
        torch.manual_seed(0)
        self.device = device
        self.images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
        self.images = self.images.to(memory_format=torch.channels_last)
        self.targets = (torch.rand(batch, CLASSES, device=device) < LABELS / CLASSES).to(torch.int8)
        self.precision = choose_precision(device, mixed=True)
        config = TrialConfig(model=ModelConfig(backbone=network, kernels_per_class=kernels))
        self.model = build_model(config, CLASSES).to(device).to(memory_format=torch.channels_last).train()
        # As for COCO, not as for this batch: the number of rows is known before the batch.
        self.loss = build_loss(LossConfig(), max_labels=18).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), fused=True)
        self.average = MovingAverage(self.model, 0.9997)
        if compiled:
            assert self.model.backbone is not None
            compile_network(self.model.backbone.network)
        self.step = TrainStep(
            self.model,
            self.loss,
            self.optimizer,
            device=device,
            precision=self.precision,
            gradient_clip_norm=None,
        )

    def whole(self) -> None:
        self.step(self.images, self.targets)
        self.average.update_parameters(self.model)

    def count_waits(self) -> int:
        """Operations of a step for which the host waits for the GPU."""
        if self.device.type != "cuda":
            return 0
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                self.whole()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(one.message) for one in caught)

    def parts(self, repeats: int) -> dict[str, float]:
        """Milliseconds of each part."""
        state: dict[str, Any] = {}

        def forward() -> None:
            with self.precision.autocast():
                state["output"] = self.model(self.images)

        def loss() -> None:
            state["total"] = self.loss(*state["output"], self.targets).total

        def backward() -> None:
            self.optimizer.zero_grad(set_to_none=True)
            state["total"].backward()

        named: dict[str, Callable[[], object]] = {
            "forward": forward,
            "loss": loss,
            "backward": backward,
            "optimizer": self.optimizer.step,
            "average": lambda: self.average.update_parameters(self.model),
        }
        times: dict[str, list[float]] = {name: [] for name in named}
        # All parts of one step, then those of the next: a compiled network frees its graph in the backward pass.
        for _ in range(repeats):
            for name, part in named.items():
                times[name].append(1e3 * timed(part, self.device))
        return {name: statistics.median(every) for name, every in times.items()}

    def evaluate(self) -> None:
        with torch.no_grad(), self.precision.autocast():
            self.average.module(self.images)


def timed(part: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, until the device has done its work."""
    start = time.perf_counter()
    part()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def plain_step(network: str, case: Case) -> Callable[[], None]:
    """The step of a user's own loop, in the same precision, with the same optimizer and layout."""
    model = (
        timm.create_model(network, num_classes=CLASSES).to(case.device).to(memory_format=torch.channels_last).train()
    )
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    images, targets = case.images.float().div_(255), case.targets.float()

    def step() -> None:
        with case.precision.autocast():
            logits = model(images)
        optimizer.zero_grad(set_to_none=True)
        binary_cross_entropy_with_logits(logits.float(), targets).backward()
        optimizer.step()

    return step


def measure(network: str, batch: int, arguments: argparse.Namespace, until: float) -> list[dict[str, Any]]:
    device, rows = torch.device(arguments.device), []
    plain: dict[str, float] = {}
    for kernels in KERNELS:
        for mode in ("eager", "compiled"):
            if time.monotonic() > until or (mode == "compiled" and arguments.no_compile):
                print(f"{network:14s} {batch:4d} C={kernels} {mode}: left out")
                continue
            case = Case(network, batch, kernels, arguments.image_size, device, mode == "compiled")
            whole = median_ms(case.whole, device, arguments.repeats)
            if not plain:
                plain["ms"] = median_ms(plain_step(network, case), device, arguments.repeats)
            case.average.module.eval()
            row: dict[str, Any] = {
                "network": network,
                "batch": batch,
                "kernels": kernels,
                "mode": mode,
                "step_ms": whole,
                "plain_ms": plain["ms"],
                "waits": case.count_waits(),
                "evaluation_ms": median_ms(case.evaluate, device, arguments.repeats),
                "parts_ms": case.parts(arguments.repeats),
            }
            rows.append(row)
            parts = ", ".join(f"{name} {value:.1f}" for name, value in row["parts_ms"].items())
            print(
                f"{network:14s} {batch:4d} C={kernels} {mode:8s}: step {whole:7.1f} ms, "
                f"{1e3 * batch / whole:6.0f} images/s, {plain['ms'] / whole:.2f} of a plain step's; "
                f"waits {row['waits']}; evaluation {whole / row['evaluation_ms']:.1f} times as fast; {parts} ms",
                flush=True,
            )
            del case
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return rows


def decode_rate(size: int) -> float:
    """Images per second that one core decodes, resizes and augments: JPEG files of 500 x 375 pixels."""
    import io

    import numpy as np
    from PIL import Image

    from kmcl_platform.data.loading.decode import decode_pixels
    from kmcl_platform.data.loading.transforms import EvalTransform

    torch.set_num_threads(1)
    rng, files = np.random.default_rng(0), []
    for _ in range(8):
        buffer = io.BytesIO()
        small = Image.fromarray(rng.integers(0, 256, (38, 50, 3), dtype=np.uint8))
        small.resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    transform, augment = EvalTransform(image_size=size), Released().build()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < 5:
        pixels = transform([decode_pixels(data) for data in files])
        for image in pixels:
            augment(image.permute(1, 2, 0).contiguous().numpy())
        count += len(files)
    return count / (time.perf_counter() - started)


def augment_rate(size: int, device: torch.device) -> float:
    """Images per second of the augmentation `released` in batches of 64, on the device."""
    augment = Released().build_batched()
    images = torch.randint(0, 256, (64, 3, size, size), dtype=torch.uint8, device=device)
    images = images.to(memory_format=torch.channels_last)
    draws = iter(draw_epoch(0, 1, 64 * 64, augment.num_draws).reshape(64, 64, -1))
    return 64e3 / median_ms(lambda: augment(images, next(draws)), device, repeats=40)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--no-compile", action="store_true")
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes - 15
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {choose_precision(device, mixed=True).dtype or torch.float32}")
    rows = [row for n in arguments.networks for b in arguments.batches for row in measure(n, b, arguments, until)]
    rate = decode_rate(arguments.image_size)
    fastest = max(1e3 * row["batch"] / row["step_ms"] for row in rows)
    batched = augment_rate(arguments.image_size, device)
    print(f"augmentation in batches: {batched:.0f} images/s")
    print(f"loader: {rate:.0f} images/s a core, augmented; the fastest step needs {fastest / rate:.1f} cores")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        record = {
            "device": name,
            "torch": torch.__version__,
            "loader_images_per_second": rate,
            "augmented_in_batches": batched,
        }
        (arguments.out / "gpu.json").write_text(json.dumps(record | {"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
