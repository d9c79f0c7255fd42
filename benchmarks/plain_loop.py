"""The training loop that a careful user would write, compared with the platform's training.

    python -m benchmarks.plain_loop --work FOLDER [--data digits own=MANIFEST.parquet,WEIGHTS.safetensors] [--pairs 6]
    python -m benchmarks.plain_loop --work FOLDER --data ... --tune [--epochs 5] [--seeds 3]

Without `--tune`: seconds of an epoch: training, evaluation of the split `val`, and the platform's checkpoint. Epochs of
the platform (`loss.objective: bce`) and of the plain loop alternate in one process, so that other work slows both. They
have the same pictures, size, network, batch and number of threads. The first epoch of each is not counted. CPU time
depends less on other processes than wall time. Aim: the platform takes at most 1.1 times as long.

With `--tune`: the mAP of the plain loop with five learning rates, on `test` of the one that is best on `val`. This is
what a search has to beat.

The words of `--data` and the recipes are those of `benchmarks.kernel_scale`. Each pair of epochs, and each training of
`--tune`, is one line of FOLDER/plain_loop.jsonl. The same command continues from there.
"""

import argparse
import io
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

# Sets the number of threads, before torch is imported.
from benchmarks.kernel_scale import recipe

# isort: split
import psutil
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.results import append_result, read_results
from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.method.metrics import average_precision_per_class
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers.distributed import join_workers

LEARNING_RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)  # of --tune
KINDS = ("logits", "targets")  # in a file of logits: `val_logits`, `val_targets` and so on


Loader = DataLoader[tuple[torch.Tensor, torch.Tensor]]


class Pictures(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """One split of a manifest, read by Pillow and torchvision."""

    def __init__(self, manifest: Manifest, split: str, size: int, mean: list[float], std: list[float]) -> None:
        rows = manifest.split(split)
        self.images = rows["bytes" if "bytes" in rows.column_names else "image"].to_pylist()
        self.root = manifest.root or Path()
        self.targets = torch.from_numpy(manifest.targets(split).copy()).float()
        steps = [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(mean, std)]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        stored = self.images[index]
        with Image.open(io.BytesIO(stored) if isinstance(stored, bytes) else self.root / stored) as image:
            return self.transform(image.convert("RGB")), self.targets[index]


class PlainLoop:
    """Trains a timm network with binary cross-entropy."""

    def __init__(self, config: TrialConfig, manifest: Manifest) -> None:
        torch.manual_seed(config.seed)
        optim, self.manifest, self.config = config.optim, manifest, config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        file, classes = config.model.pretrained_file, len(manifest.class_names)
        start, overlay = (True, {"file": file}) if file else (config.model.pretrained, None)
        network = timm.create_model(
            config.model.backbone, pretrained=start, pretrained_cfg_overlay=overlay, num_classes=classes
        )
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.train_loader = self.loader("train", shuffle=True, drop_last=True)
        self.val_loader = self.loader("val")
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), optim.lr, weight_decay=optim.weight_decay, fused=True
        )
        steps = config.num_epochs * len(self.train_loader)
        self.schedule = OneCycleLR(self.optimizer, optim.lr, steps, pct_start=optim.warmup_fraction)
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def loader(self, split: str, **options: Any) -> Loader:
        normalisation: Any = self.network.pretrained_cfg
        data, processes = self.config.data, self.config.data.loader_processes
        pictures = Pictures(self.manifest, split, data.image_size, normalisation["mean"], normalisation["std"])
        return DataLoader(pictures, data.batch_size, num_workers=processes, persistent_workers=processes > 0, **options)

    def train_epoch(self) -> None:
        self.network.train()
        for images, targets in self.train_loader:
            images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
            targets = targets.to(self.device, non_blocking=True)
            with self.autocast:
                logits = self.network(images)
            known = (targets >= 0).float()  # -1: the label is unknown
            loss = binary_cross_entropy_with_logits(logits.float(), targets.clamp(min=0), known)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()

    @torch.no_grad()
    def score(self, loader: Loader) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and targets of a whole split."""
        self.network.eval()
        logits, all_targets = [], []
        for images, targets in loader:
            images = images.to(self.device, memory_format=torch.channels_last)
            logits.append(self.network(images).cpu())
            all_targets.append(targets)
        return torch.cat(logits), torch.cat(all_targets)

    def evaluate(self, loader: Loader) -> float:
        """mAP."""
        return mean_average_precision(*self.score(loader))


def mean_average_precision(logits_NK: torch.Tensor, targets_NK: torch.Tensor) -> float:
    """mAP, without classes that have no positive image."""
    return average_precision_per_class(logits_NK.sigmoid(), targets_NK).nanmean().item()


class Clock:
    """Wall time and CPU time, with that of loader processes, since it was made."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._start = self._now()

    def _now(self) -> tuple[float, float]:
        members = [self._process, *self._process.children(recursive=True)]
        return time.perf_counter(), sum(sum(member.cpu_times()[:2]) for member in members)

    def spent(self) -> dict[str, float]:
        wall, cpu = (now - start for now, start in zip(self._now(), self._start, strict=True))
        return {"wall": wall, "cpu": cpu}


def compare(config: TrialConfig, manifest: Manifest, keep: Callable[[dict[str, Any]], None]) -> None:
    """Time an epoch of the platform, then one of the plain loop, and so on; `keep` gets each pair but the first."""
    plain = PlainLoop(config, manifest)
    clock = Clock()

    def after_epoch(report: EpochReport) -> bool:
        nonlocal clock
        # The platform has written its checkpoint, and waits for this function.
        platform = clock.spent()
        clock = Clock()
        plain.train_epoch()
        score = plain.evaluate(plain.val_loader)
        pair = {"platform": platform, "plain": clock.spent(), "mAP": [report.metrics["val/mAP"], score]}
        if report.epoch > 1:
            keep(pair)
        clock = Clock()
        return True

    scratch = Path(tempfile.mkdtemp())
    try:
        fit(config, manifest, checkpoints=scratch, report=after_epoch, workers=join_workers())
    finally:
        shutil.rmtree(scratch)


def train(config: TrialConfig, manifest: Manifest, logits: Path | None = None) -> dict[str, Any]:
    """Train the plain loop to its end; returns the mAP of the last epoch on `val` and `test`.

    `logits` is a new file for those of both splits. None: they are not kept.
    """
    clock = Clock()
    plain = PlainLoop(config, manifest)
    for _ in range(config.num_epochs):
        plain.train_epoch()
    found = {split: plain.score(plain.loader(split)) for split in ("val", "test")}
    scores = {split: mean_average_precision(*one) for split, one in found.items()}
    if logits is not None:
        tensors = {
            f"{split}_{kind}": one for split, pair in found.items() for kind, one in zip(KINDS, pair, strict=True)
        }
        save_file(tensors, logits)
    return {"seed": config.seed, "epochs": config.num_epochs, "lr": config.optim.lr, **scores, **clock.spent()}


def show_pairs(results: list[dict[str, Any]]) -> None:
    """Medians of the seconds, their ratio, and the median of the ratios within a pair."""
    print("| data | clock | platform, s | plain loop, s | ratio of medians | median of ratios | pairs |")
    print("|---" * 7 + "|")
    for data in dict.fromkeys(one["data"] for one in results):
        for clock in ("wall", "cpu"):
            ours, plain = ([one[way][clock] for one in results if one["data"] == data] for way in ("platform", "plain"))
            ratios = statistics.median(a / b for a, b in zip(ours, plain, strict=True))
            a, b = statistics.median(ours), statistics.median(plain)
            print(f"| {data} | {clock} | {a:.2f} | {b:.2f} | {a / b:.3f} | {ratios:.3f} | {len(ours)} |")


def show_tuned(results: list[dict[str, Any]]) -> None:
    """The mAP on `val` at each learning rate, and both mAPs of the best one, for each seed."""
    columns = [f"val, lr {lr:g}" for lr in LEARNING_RATES] + ["best lr", "val", "test"]
    print("| data | epochs | seed | " + " | ".join(columns) + " |\n" + "|---" * (3 + len(columns)) + "|")
    tests: dict[tuple[str, int], list[float]] = {}
    for data, epochs, seed in dict.fromkeys((one["data"], one["epochs"], one["seed"]) for one in results):
        runs = {one["lr"]: one for one in results if (one["data"], one["epochs"], one["seed"]) == (data, epochs, seed)}
        best = max(runs.values(), key=lambda one: one["val"])
        cells = [f"{runs[lr]['val']:.4f}" if lr in runs else "" for lr in LEARNING_RATES]
        cells += [f"{best['lr']:g}", f"{best['val']:.4f}", f"{best['test']:.4f}"]
        print(f"| {data} | {epochs} | {seed} | " + " | ".join(cells) + " |")
        tests.setdefault((data, epochs), []).append(best["test"])
    for (data, epochs), values in tests.items():
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        print(f"{data}, {epochs} epochs: test mAP {statistics.mean(values):.4f}{spread}, {len(values)} seeds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", nargs="+", default=["digits"])
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--epochs", type=int, help="of --tune; default: those of the recipe")
    parser.add_argument("--seeds", type=int, default=1, help="of --tune")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / "plain_loop.jsonl"
    results = read_results(path)

    def keep(result: dict[str, Any], **more: Any) -> None:
        result = more | result
        results.append(result)
        append_result(path, result)
        print(json.dumps(result), flush=True)

    for data in options.data:
        name, config = recipe(data, options.epochs)
        manifest = open_manifest(config.data.source, options.work / "data")
        if not options.tune:
            known = sum(one["data"] == name and "plain" in one for one in results)
            if known < options.pairs:
                bce = config.with_values({"loss.objective": "bce", "num_epochs": options.pairs - known + 1})
                compare(bce, manifest, partial(keep, data=name))
            continue
        for seed, lr in product(range(options.seeds), LEARNING_RATES):
            key = (name, config.num_epochs, seed, lr)
            if not any("lr" in one and (one["data"], one["epochs"], one["seed"], one["lr"]) == key for one in results):
                keep({"data": name, **train(config.with_values({"seed": seed, "optim.lr": lr}), manifest)})
    show = show_tuned if options.tune else show_pairs
    show([one for one in results if ("lr" in one) == options.tune])


if __name__ == "__main__":
    main()
