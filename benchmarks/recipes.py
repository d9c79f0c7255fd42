"""Which recipe trains well before any search? One search of it for each dataset, with the plain losses alone.

    python -m benchmarks.recipes --work FOLDER [--data digits own=MANIFEST.parquet,WEIGHTS.safetensors] [--trials 60]
        [--seeds 3] [--also optim.lr=0.003,optim.ema_decay=0.9]

The words of `--data`, and the recipes at which the searches begin, are those of `benchmarks.kernel_scale`. A search is
`kmcl search` over what a careful user would try: the loss, label smoothing, learning rates, weight decay, averaging and
augmentation. Its first trial is the recipe as it stands. The number of epochs is fixed, because more epochs help every
recipe. The searches are in FOLDER/store. The same command continues them and prints the tables.

The best of many trials is best by luck too. So `--seeds` trains the recipe as it stands, the best trial found, and each
recipe of `--also` (changes of the recipe as it stands) again with so many other seeds. Each is one line of
FOLDER/recipes.jsonl.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

# Sets the number of threads, before torch is imported.
from benchmarks.kernel_scale import recipe, run

# isort: split
import yaml

from benchmarks.results import append_result, read_results
from kmcl_platform.config.store import open_store
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.files.yaml_document import write_yaml
from kmcl_platform.tracking.runs.leaderboard import Leaderboard, LeaderboardRow, count_outcomes, read_leaderboard

Distribution = dict[str, Any]


def choice(*values: Scalar) -> Distribution:
    return {"kind": "choice", "choices": list(values)}


def between(low: float, high: float) -> Distribution:
    return {"kind": "loguniform", "low": low, "high": high}


SHARED: dict[str, Distribution] = {
    "loss.objective": choice("asymmetric", "bce"),
    "loss.gamma_negative": choice(1.0, 2.0, 4.0) | {"when": {"loss.objective": "asymmetric"}},
    "loss.label_smoothing": choice(0.0, 0.05, 0.1),
    "optim.weight_decay": between(1e-5, 0.1),
    "optim.warmup_fraction": choice(0.1, 0.2, 0.3),
    "optim.ema_decay": choice(0.0, 0.9, 0.99),
}
FINE_TUNED = SHARED | {
    "optim.lr": between(5e-4, 2e-2),
    "optim.backbone_lr_factor": between(0.1, 1.0),
    "optim.layer_decay": choice(1.0, 0.9, 0.8, 0.7),
    "data.augmentation": choice("none", "flip", "timm"),
}
"""The space of a backbone that is trained with the rest."""

FROZEN = SHARED | {
    "optim.lr": between(1e-4, 5e-2),
    "data.batch_size": choice(32, 64, 128, 256),
    "model.projection_width": choice(None, 256, 1024),
}
"""The space of a frozen backbone."""


def search_file(name: str, base: TrialConfig, trials: int) -> dict[str, Any]:
    """The search file of one dataset."""
    frozen = base.model.backbone_mode == "frozen"
    start: dict[str, Scalar] = {"loss.objective": "asymmetric"}
    # The files of experiments on a frozen backbone are short: a trial that is stopped early would save seconds.
    warm = max(1, round(base.num_epochs / 3))
    return {
        "name": name,
        "objective": {"metric": "val/mAP", "mode": "maximize"},
        "base": base.with_values(start).model_dump(),
        "baselines": [],
        "space": FROZEN if frozen else FINE_TUNED,
        "budget": {"trials": trials, "checkpoints": 1},
        "scheduler": {"kind": "none"}
        if frozen
        else {"kind": "successive_halving", "min_epochs": warm, "reduction_factor": 3},
        "resources": {"workers_per_trial": 1, "cpus_per_worker": 1},
        "sampler": {"kind": "tpe", "startup_trials": 15, "seed": 0},
    }


def show(board: Leaderboard, best: int) -> None:
    """The first trial and the best ones, each with the values that were searched."""
    complete = [row for row in board.rows if row.objective is not None and row.rank is not None]
    first = next(row for row in complete if row.number == 0)
    print(f"\n{board.search}: {board.num_epochs} epochs; trials: {dict(count_outcomes(board.rows))}\n")
    print("| trial | val/mAP | " + " | ".join(board.paths) + " |\n" + "|---" * (2 + len(board.paths)) + "|")
    for row in [first, *(row for row in complete[:best] if row is not first)]:
        name = "the recipe itself" if row is first else str(row.number)
        print(f"| {name} | {row.objective:.4f} | " + " | ".join(row.values.get(p, "") for p in board.paths) + " |")
    top = complete[0].objective
    assert top is not None and first.objective is not None
    print(f"\n{board.search}: the recipe {first.objective:.4f}, the best {top:.4f}, {top - first.objective:+.4f}")


def confirm(data: str, board: Leaderboard, also: list[str], seeds: int, work: Path) -> None:
    """Train the recipe, the best trial and other changes of the recipe with new seeds, and print their means."""
    name, base = recipe(data, None)
    base = base.with_values({"loss.objective": "asymmetric"})
    best = next(row for row in board.rows if row.objective is not None and row.rank == 1)
    changes = {"as it stands": "", f"the best, trial {best.number}": trial_changes(best), **{one: one for one in also}}
    path = work / "recipes.jsonl"
    results = read_results(path)
    print(f"\n{name}: new seeds 1 to {seeds}\n\n| recipe | " + " | ".join(map(str, range(1, seeds + 1))) + " | mean |")
    print("|---" * (seeds + 2) + "|")
    for title, words in changes.items():
        values = {path: yaml.safe_load(value) for path, value in (word.split("=") for word in words.split(",") if word)}
        scores = []
        for seed in range(1, seeds + 1):
            key = {"data": name, "values": values, "seed": seed, "epochs": base.num_epochs}
            found = next((one["val"] for one in results if key.items() <= one.items()), None)
            if found is None:
                found = run(base.with_values({**values, "seed": seed}), work)["last"]["val/mAP"]
                results.append({**key, "val": found})
                append_result(path, results[-1])
            scores.append(found)
        print(f"| {title} | " + " | ".join(f"{one:.4f}" for one in scores) + f" | {statistics.mean(scores):.4f} |")


def trial_changes(row: LeaderboardRow) -> str:
    """The searched values that a trial uses, as words of `--also`."""
    return ",".join(f"{path}={value}" for path, value in row.values.items() if row.uses(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", nargs="+", default=["digits"])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--best", type=int, default=8, help="lines of each table")
    parser.add_argument("--seeds", type=int, default=0, help="of the second comparison (default: none)")
    parser.add_argument("--also", nargs="+", default=[], help="recipes for the second comparison")
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    # Otherwise the searches would run on the cluster that the environment names.
    os.environ.pop("RAY_ADDRESS", None)
    store = open_store(work / "store")
    for data in options.data:
        name, base = recipe(data, None)
        file = work / f"{name}.yaml"
        file.write_bytes(write_yaml(search_file(name, base, options.trials)))
        command = [sys.executable, "-m", "kmcl_platform.cli", "search", str(file), "--store", str(store.root)]
        subprocess.run(command, check=True)
        board = read_leaderboard(store, name)
        show(board, options.best)
        if options.seeds:
            confirm(data, board, options.also, options.seeds, work)


if __name__ == "__main__":
    main()
