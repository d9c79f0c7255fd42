"""The time of a trial with a frozen backbone: 3,554 training and 760 validation rows of 1,280 features, 68 classes.

    python -m benchmarks.frozen [--epochs 20] [--repeats 3] [--batch-size 64] [--trials 200]
        [--at-once 2]

The features are those of tf_efficientnet_lite0 with random weights on small pictures of noise, 2.3 labels each: their
values do not matter for the time. The first lines are the computation of the features, which happens once for a store.
Each other line is the fastest of some whole trials: everything that `fit` does, with its checkpoints. It uses one core.

With `--trials`, a whole search of so many trials of the first kind follows: `kmcl search` with one or two trials of one
core each at the same time, none stopped early. Its time has everything, also the start of Ray and the report at the
end; the second figure has the trials alone.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from kmcl_platform.config.store import open_store
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.files.yaml_document import write_yaml
from kmcl_platform.search.study.storage import require_study
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers.distributed import Workers

BACKBONE, TRAIN, VAL, CLASSES, LABELS = "tf_efficientnet_lite0", 3554, 760, 68, 2.3
ARMS: dict[str, dict[str, Scalar]] = {
    "kmcl": {},
    "kmcl, projection of 256": {"model.projection_width": 256},
    "kmcl, float16": {"model.feature_dtype": "float16"},
    "asymmetric": {"loss.objective": "asymmetric"},
    "bce": {"loss.objective": "bce"},
}


def make_manifest(path: Path) -> Manifest:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(TRAIN + VAL):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, "PNG")
        images.append(buffer.getvalue())
    manifest = build_manifest(
        name="noise",
        version="1",
        class_names=[f"class {k}" for k in range(CLASSES)],
        splits=["train"] * TRAIN + ["val"] * VAL,
        images=images,
        targets=(rng.random((TRAIN + VAL, CLASSES)) < LABELS / CLASSES).astype(np.int8),
    )
    write_manifest(manifest, path)
    return read_manifest(path)


def run_search(base: TrialConfig, folder: Path, trials: int, at_once: int = 2) -> tuple[float, float]:
    """Seconds of a whole search, and of those the seconds from the end of its first trials to that of its last one."""
    file = {
        "name": "frozen",
        "base": base.model_dump(mode="json"),
        "baselines": [],
        "space": {
            "optim.lr": {"kind": "loguniform", "low": 1e-4, "high": 1e-2},
            "loss.reconstruction_weight": {"kind": "loguniform", "low": 1e-3, "high": 1.0},
            "loss.contrastive_weight": {"kind": "loguniform", "low": 1e-3, "high": 1.0},
        },
        "scheduler": {"kind": "none"},
        "resources": {"max_concurrent_trials": at_once},
        "budget": {"trials": trials},
    }
    (folder / "frozen.yaml").write_bytes(write_yaml(file))
    command = [sys.executable, "-m", "kmcl_platform.cli.main", "search", str(folder / "frozen.yaml")]
    started = time.perf_counter()
    with (folder / "search.txt").open("wb") as output:
        # After an error, the end of its output is part of the exception that the caller sees.
        done = subprocess.run([*command, "--store", str(folder / "store")], stdout=output, stderr=output, check=False)
    if done.returncode:
        raise RuntimeError((folder / "search.txt").read_text()[-2000:])
    seconds = time.perf_counter() - started
    study = require_study(open_store(folder / "store").study_url, "frozen")
    ends = sorted(trial.datetime_complete for trial in study.trials if trial.datetime_complete)
    return seconds, (ends[-1] - ends[at_once - 1]).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--arm", choices=list(ARMS), action="append", help="only this one (default: all)")
    parser.add_argument("--trials", type=int, default=0, help="of a whole search (default: none)")
    parser.add_argument("--at-once", type=int, default=2, choices=(1, 2), help="trials of the search")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(list(cores)[:1]))
    alone = Workers(rank=0, world_size=1, device=torch.device("cpu"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        manifest = make_manifest(folder / "noise.parquet")
        torch.manual_seed(0)
        save_file(timm.create_model(BACKBONE, num_classes=0).state_dict(), folder / "weights.safetensors")
        base = TrialConfig().with_values(
            {
                "data.source": str(folder / "noise.parquet"),
                "data.image_size": 32,
                "data.batch_size": arguments.batch_size,
                "model.backbone": BACKBONE,
                "model.backbone_mode": "frozen",
                "model.pretrained_file": str(folder / "weights.safetensors"),
                "optim.optimizer": "adamw",
                "num_epochs": arguments.epochs,
            }
        )

        def run(config: TrialConfig, name: str) -> tuple[float, float]:
            wall, cpu = time.perf_counter(), time.process_time()
            fit(
                config,
                manifest,
                checkpoints=folder / "checkpoints" / name,
                report=lambda _: True,
                workers=alone,
                features=folder / "store" / "features",
            )
            return time.perf_counter() - wall, time.process_time() - cpu

        for dtype in ("float32", "float16"):
            wall, cpu = run(base.with_values({"model.feature_dtype": dtype, "num_epochs": 1}), f"first-{dtype}")
            print(f"first trial, with the computation of {dtype} features: {wall:.1f} s, {cpu:.1f} s of CPU time")
        for arm in arguments.arm or ARMS:
            config = base.with_values(ARMS[arm])
            wall, cpu = min(run(config, f"{arm}-{repeat}") for repeat in range(arguments.repeats))
            print(f"{arm}: {arguments.epochs} epochs in {wall:.2f} s, {cpu:.2f} s of CPU time")
        if arguments.trials:
            os.sched_setaffinity(0, cores)
            count, at_once = arguments.trials, arguments.at_once
            seconds, between = run_search(base, folder, count, at_once)
            each = at_once * between / (count - at_once)
            print(
                f"search: {count} trials, {at_once} at once, in {seconds:.0f} s, {at_once * seconds / count:.2f} s "
                f"each; without its start and its report {each:.2f} s each"
            )


if __name__ == "__main__":
    main()
