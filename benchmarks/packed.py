"""Several small trials on one GPU at the same time: how many images a second do they train on together?

    python -m benchmarks.packed [--at-once 1 2 4] [--seconds 10] [--device cuda] [--mps]

Each trial is a process of its own, as in a search with `gpus_per_worker: 0.25`. It takes steps of the digits' network
(32 pixels, batch 128) and of an EfficientNet-Lite0 (64 pixels, batch 64) for some seconds, with images that are in the
memory of the device. All processes begin together. The ratio compares with a single trial: trials one after the other
have the ratio 1. The aim is 2 for four trials.

With `--mps`, NVIDIA's Multi-Process Service runs meanwhile, in a folder of its own. Without it a GPU computes for one
process at a time, a slice of time for each.
"""

import argparse
import multiprocessing
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

CASES: dict[str, tuple[str, int, int]] = {
    "digits": ("test_resnet", 32, 128),
    "64 pixels": ("tf_efficientnet_lite0", 64, 64),
}
"""The backbone, the image size and the batch size."""


def train(case: str, device_name: str, at_once: int, seconds: float, begin: Barrier, results: Any) -> None:
    """A trial: put the images per second into the queue."""
    import torch

    from kmcl_platform.config.loss_config import LossConfig
    from kmcl_platform.config.trial_config import ModelConfig, TrialConfig
    from kmcl_platform.training.build import build_loss, build_model
    from kmcl_platform.training.device import choose_precision
    from kmcl_platform.training.step import TrainStep
    from kmcl_platform.training.workers.memory import limit_gpu_memory

    backbone, size, batch = CASES[case]
    device = torch.device(device_name)
    limit_gpu_memory(device, 1.0 / at_once)
    torch.manual_seed(0)
    model = build_model(TrialConfig(model=ModelConfig(backbone=backbone)), 10).to(device).train()
    model = model.to(memory_format=torch.channels_last)
    step = TrainStep(
        model,
        build_loss(LossConfig(), max_labels=4).to(device),
        torch.optim.AdamW(model.parameters(), fused=True),
        device=device,
        precision=choose_precision(device, mixed=True),
        gradient_clip_norm=None,
    )
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
    targets = (torch.rand(batch, 10, device=device) < 0.2).to(torch.int8)

    def run(until: float) -> int:
        count = 0
        while time.monotonic() < until:
            # Not each step: the host may be some steps ahead, as in a trial.
            for _ in range(10):
                step(images, targets)
                count += 1
            if device.type == "cuda":
                torch.cuda.synchronize()
        return count

    run(time.monotonic() + 2)
    begin.wait()
    started = time.monotonic()
    steps = run(started + seconds)
    results.put(steps * batch / (time.monotonic() - started))


def measure(case: str, device: str, at_once: int, seconds: float) -> float:
    """Images per second of all trials together."""
    context = multiprocessing.get_context("spawn")
    begin, results = context.Barrier(at_once), context.Queue()
    trials = [
        context.Process(target=train, args=(case, device, at_once, seconds, begin, results)) for _ in range(at_once)
    ]
    for trial in trials:
        trial.start()
    found = [results.get(timeout=300) for _ in trials]
    for trial in trials:
        trial.join()
    return float(sum(found))


@contextmanager
def multi_process_service() -> Iterator[None]:
    """NVIDIA's service, for the processes that start inside the block."""
    with tempfile.TemporaryDirectory() as folder:
        own = {
            "CUDA_MPS_PIPE_DIRECTORY": str(Path(folder) / "pipe"),
            "CUDA_MPS_LOG_DIRECTORY": str(Path(folder) / "log"),
        }
        os.environ.update(own)
        subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True)
        try:
            yield
        finally:
            subprocess.run(["nvidia-cuda-mps-control"], input=b"quit\n", check=True)
            for name in own:
                del os.environ[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--mps", action="store_true")
    options = parser.parse_args()
    if options.mps:
        with multi_process_service():
            show(options)
    else:
        show(options)


def show(options: argparse.Namespace) -> None:
    print(f"| case{', MPS' * options.mps} | trials at once | images/s together | ratio |\n|---|---|---|---|")
    for case in CASES:
        alone: float | None = None
        for at_once in options.at_once:
            together = measure(case, options.device, at_once, options.seconds)
            alone = alone or together
            print(f"| {case} | {at_once} | {together:.0f} | {together / alone:.2f} |", flush=True)


if __name__ == "__main__":
    main()
