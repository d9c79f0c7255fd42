"""Can a random point of the kernel terms' ranges ruin a training?

    python -m benchmarks.kernel_ranges --work FOLDER --data own=MANIFEST.parquet,WEIGHTS.safetensors \\
        [--spaces own_pictures voc2007 adp coco chestxray14 digits] [--points 20] [--seed 0]

From the space of each shipped file, random points are drawn for the paths of the kernel terms alone: weights,
temperature, kernels, formulation. The formulation of a file that does not search it is its base's. All else, the
learning rate too, is the recipe of the dataset, as in `benchmarks.kernel_scale`. The table compares each training with
that of the asymmetric loss alone. Each training is one line of FOLDER/kernel_ranges.jsonl; the same command continues
from there.
"""

import argparse
from pathlib import Path
from typing import Any

# Sets the number of threads, before torch is imported.
from benchmarks.kernel_scale import recipe, run

# isort: split
import optuna

from benchmarks.results import append_result, read_results
from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.config.trial_config import Scalar
from kmcl_platform.errors import Diverged
from kmcl_platform.search.sampling.space import suggest_values

SPACES = ("own_pictures", "voc2007", "adp", "coco", "chestxray14", "digits")
KERNEL_PATHS = (
    "loss.reconstruction_weight",
    "loss.contrastive_weight",
    "loss.temperature",
    "loss.formulation",
    "model.kernel",
    "model.reduced_dim",
    "model.kernels_per_class",
)


def draw_points(space: str, count: int, seed: int) -> list[dict[str, Scalar]]:
    """Random points of a shipped space, with the paths of the kernel terms alone."""
    file = read_search_file(Path("search_spaces") / f"{space}.yaml")
    kernel_space = {path: one for path, one in file.space.items() if path in KERNEL_PATHS}
    # The other classification settings stay those of the recipe, which is that of the compared training.
    file = file.model_copy(update={"space": kernel_space})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    # The weights of a file are for its own formulation. The recipes have the default one.
    own = file.base.loss.formulation
    fixed: dict[str, Scalar] = {} if own == LossConfig().formulation else {"loss.formulation": own}
    return [fixed | suggest_values(study.ask(), file) for _ in range(count)]


def table(results: list[dict[str, Any]]) -> str:
    """For each dataset and space: the asymmetric loss, the points' median and worst, and how many are below a bar."""
    lines = ["| data | space | asymmetric | points | median | worst | more than 0.05 below | worst point |"]
    lines.append("|---" * 8 + "|")
    for data, space in dict.fromkeys((one["data"], one["space"]) for one in results if one["space"]):
        rival = next(one["val"] for one in results if one["data"] == data and not one["space"])
        found = sorted(
            (one for one in results if (one["data"], one["space"]) == (data, space)), key=lambda one: float(one["val"])
        )
        gaps = [one["val"] - rival for one in found]
        worst = ", ".join(
            f"{path.split('.')[1]} {value:.3g}" if isinstance(value, float) else f"{path.split('.')[1]} {value}"
            for path, value in found[0]["values"].items()
        )
        lines.append(
            f"| {data} | {space} | {rival:.4f} | {len(found)} | {gaps[len(gaps) // 2]:+.4f} | {gaps[0]:+.4f} | "
            f"{sum(gap < -0.05 for gap in gaps)} | {worst} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--spaces", nargs="+", default=["own_pictures"], choices=SPACES)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / "kernel_ranges.jsonl"
    results = read_results(path)
    for data in options.data:
        name, base = recipe(data, None)
        tasks: list[tuple[str, dict[str, Scalar]]] = [("", {"loss.objective": "asymmetric"})]
        for space in options.spaces:
            tasks += [(space, values) for values in draw_points(space, options.points, options.seed)]
        for space, values in tasks:
            if any((one["data"], one["space"], one["values"]) == (name, space, values) for one in results):
                continue
            try:
                score = run(base.with_values(values), options.work)["last"]["val/mAP"]
            except Diverged:
                score = 0.0
            results.append({"data": name, "space": space, "values": values, "val": score})
            append_result(path, results[-1])
            print(f"{name}: {space or 'asymmetric'}: {score:.4f}", flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
