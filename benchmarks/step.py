"""The share of the loss in the time of a training step: TResNet-M at 224 pixels, batches of 64, 20 classes.

python -m benchmarks.step [--device cuda] [--backbone tresnet_m] [--batch-size 64] [--image-size 224]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.losses import Case, build
from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.trial_config import ModelConfig, TrialConfig
from kmcl_platform.training.build import build_loss, build_model
from kmcl_platform.training.device import choose_precision
from kmcl_platform.training.step import TrainStep


def median_ms(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    times = []
    for repeat in range(repeats + 3):
        start = time.perf_counter()
        run()
        # A GPU works on after the call has returned: without this, only the launch is measured.
        if device.type == "cuda":
            torch.cuda.synchronize()
        # The first runs choose kernels and allocate memory.
        if repeat >= 3:
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--backbone", default="tresnet_m")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    num_classes = 20
    model = build_model(TrialConfig(model=ModelConfig(backbone=arguments.backbone)), num_classes).to(device)
    model = model.to(memory_format=torch.channels_last).train()
    images = torch.randn(arguments.batch_size, 3, arguments.image_size, arguments.image_size, device=device)
    targets = (torch.rand(arguments.batch_size, num_classes, device=device) < 2.9 / num_classes).to(torch.int8)
    max_labels = int(targets.sum(1).max()) if device.type == "cuda" else None
    step = TrainStep(
        model,
        build_loss(LossConfig(), max_labels=max_labels).to(device),
        torch.optim.Adam(model.parameters(), fused=True),
        device=device,
        precision=choose_precision(device, mixed=True),
        gradient_clip_norm=None,
    )
    whole = median_ms(lambda: step(images, targets), device, arguments.repeats)
    loss = build(Case(arguments.batch_size, num_classes, model.head.num_features), device)
    alone = median_ms(loss, device, arguments.repeats)
    print(f"step {whole:.2f} ms, loss {alone:.2f} ms, {100 * alone / whole:.1f} %")


if __name__ == "__main__":
    main()
