"""What the scale of the kernel terms does to KMCL, on datasets with few and with many features.

    python -m benchmarks.kernel_scale --work FOLDER [--data digits own=MANIFEST.parquet,WEIGHTS.safetensors] [--seeds 3]

A word of `--data` may end with values of that dataset: `own=MANIFEST,WEIGHTS,num_epochs=20,model.backbone_mode=frozen`,
or `digits_fast=digits,,optim.lr=0.01`.

Every arm is a change of the loss or of the head; the recipe of a dataset is the same for all its arms. Nothing is
tuned: the question is whether a weight of 1 means the same on all datasets, and whether KMCL at its default weights is
at least as good as the asymmetric loss alone. Each run is one line of FOLDER/kernel_scale.jsonl. The same command
continues from there, and prints the table of what it finds. Seeds come before arms: a benchmark that is stopped has
complete rows.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

# Before torch is imported: both cores train one run after the other.
os.environ.setdefault("OMP_NUM_THREADS", "2")

import torch
import yaml

from benchmarks.results import append_result, read_results
from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers.distributed import Workers

Values = dict[str, Scalar]

TOTAL: Values = {"loss.kernel_scale": "total"}
PER_FEATURE: Values = {"loss.kernel_scale": "per_feature"}
SCALED: Values = PER_FEATURE | {"model.head_start": "scaled"}
NORMALISED: Values = SCALED | {"model.head_input": "normalised"}
SCALE_FREE_HEAD: Values = TOTAL | {"model.head_start": "scaled", "model.head_input": "normalised"}
SHARES: Values = {"loss.balance": "gradient_shares"}


def weighted(weight: float) -> Values:
    return {"loss.reconstruction_weight": weight, "loss.contrastive_weight": weight}


ARMS: dict[str, Values] = {
    "bce": {"loss.objective": "bce"},
    "asymmetric": {"loss.objective": "asymmetric"},
    "released": weighted(1) | {"loss.formulation": "released"},
    "total, 1": TOTAL | weighted(1),
    "total, 0.1": TOTAL | weighted(0.1),
    "per feature, 1": PER_FEATURE | weighted(1),
    "per feature, 0.1": PER_FEATURE | weighted(0.1),
    "per feature, 3": PER_FEATURE | weighted(3),
    "per feature, 10": PER_FEATURE | weighted(10),
    "per feature, scaled start, 1": SCALED | weighted(1),
    "per feature, scaled start, 0.1": SCALED | weighted(0.1),
    "per feature, scaled start, normalised, 1": NORMALISED | weighted(1),
    "per feature, scaled start, normalised, 0.1": NORMALISED | weighted(0.1),
    "scaled start, normalised, 1": SCALE_FREE_HEAD | weighted(1),
    "shares 0.1": NORMALISED | SHARES,
    "shares 0.3": NORMALISED | SHARES | {"loss.reconstruction_share": 0.3, "loss.contrastive_share": 0.3},
    "per feature, reconstruction alone, 1": PER_FEATURE | weighted(1) | {"loss.contrastive_weight": 0.0},
    "per feature, contrastive alone, 1": PER_FEATURE | weighted(1) | {"loss.reconstruction_weight": 0.0},
}

DIGITS: Values = {
    "data.image_size": 32,
    "data.batch_size": 128,
    "model.backbone": "test_resnet",
    "optim.optimizer": "adamw",
    "optim.lr": 2e-3,
    "optim.ema_decay": 0.99,
    "num_epochs": 6,
}
"""The base of search_spaces/digits.yaml, with a lower learning rate."""

PICTURES: Values = {
    "data.image_size": 64,
    "data.batch_size": 64,
    "model.backbone": "tf_efficientnet_lite0",
    "optim.optimizer": "adamw",
    "optim.lr": 2e-3,
    "optim.ema_decay": 0.0,
    "num_epochs": 5,
}
"""The recipe for a manifest of real pictures, with pretrained weights."""


def recipe(data: str, epochs: int | None) -> tuple[str, TrialConfig]:
    """The name and the configuration of one dataset, from a word of `--data`."""
    if data == "digits":
        name, values = "digits", dict(DIGITS)
    else:
        name, _, words = data.partition("=")
        manifest, weights, *others = [*words.split(","), ""]
        values = DIGITS if manifest == "digits" else PICTURES | {"data.source": manifest}
        values = values | {"model.pretrained_file": weights or None}
        values |= {field: yaml.safe_load(value) for field, value in (other.split("=") for other in others if other)}
    if epochs:
        values["num_epochs"] = epochs
    return name, TrialConfig().with_values(values)


def run(config: TrialConfig, work: Path) -> dict[str, Any]:
    """Train once; returns the metrics of the last epoch and the seconds of the training."""
    reports: list[EpochReport] = []

    def keep(report: EpochReport) -> bool:
        reports.append(report)
        return True

    started = time.monotonic()
    scratch = Path(tempfile.mkdtemp())
    try:
        manifest = open_manifest(config.data.source, work / "data")
        workers = Workers(0, 1, torch.device("cpu"))
        fit(config, manifest, checkpoints=scratch, report=keep, workers=workers, features=work / "features")
    finally:
        shutil.rmtree(scratch)
    return {"seconds": time.monotonic() - started, "first": reports[0].metrics, "last": reports[-1].metrics}


def table(results: list[dict[str, Any]]) -> str:
    """Validation mAP of the last epoch: the mean over seeds, its range, and the difference from the asymmetric loss."""
    names = list(dict.fromkeys(result["data"] for result in results))
    lines = ["| arm | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    scores: dict[tuple[str, str], dict[int, float]] = {}
    for one in results:
        scores.setdefault((one["arm"], one["data"]), {})[one["seed"]] = one["last"]["val/mAP"]
    for arm in ARMS:
        cells = []
        for name in names:
            own, rival = scores.get((arm, name), {}), scores.get(("asymmetric", name), {})
            paired = [own[seed] - rival[seed] for seed in own if seed in rival]
            spread = f" ± {statistics.stdev(own.values()):.4f}" if len(own) > 1 else ""
            gap = f" ({statistics.mean(paired):+.4f})" if paired and arm != "asymmetric" else ""
            cells.append(f"{statistics.mean(own.values()):.4f}{spread}{gap}, n = {len(own)}" if own else "")
        if any(cells):
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", nargs="+", default=["digits"])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / "kernel_scale.jsonl"
    results = read_results(path)
    known = {(one["data"], one["arm"], one["seed"]) for one in results}
    for seed in range(options.seeds):
        for data in options.data:
            name, base = recipe(data, options.epochs)
            for arm in options.arms:
                if (name, arm, seed) in known:
                    continue
                found = run(base.with_values(ARMS[arm] | {"seed": seed}), options.work)
                results.append({"data": name, "arm": arm, "seed": seed, **found})
                append_result(path, results[-1])
                print(
                    f"{name}: {arm}, seed {seed}: {found['last']['val/mAP']:.4f}, {found['seconds']:.0f} s", flush=True
                )
    print(table(results))


if __name__ == "__main__":
    main()
