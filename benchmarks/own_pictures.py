"""The shipped file for own pictures, as a user runs it, compared with a plain loop.

    python -m benchmarks.own_pictures --work FOLDER --data MANIFEST.parquet,WEIGHTS.safetensors [--seeds 3]

For each seed: `search_spaces/own_pictures.yaml` with this manifest, these weights and this seed of the sampler, a whole
`kmcl search`, then `kmcl promote`, which scores the best trial on the test split, and `kmcl promote --ensemble 3`. The
plain loop is that of `benchmarks.plain_loop --tune`: binary cross-entropy, the best of five learning rates on `val`, as
many epochs, one training for each seed. The mean logits of its three best learning rates are the ensemble of a user
without the platform. Each result is one line of FOLDER/own_pictures.jsonl. The same command continues from there and
prints the tables.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.plain_loop import LEARNING_RATES, mean_average_precision, train

# isort: split
import torch
from safetensors.torch import load_file

from benchmarks.results import append_result, read_results
from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.config.store import open_store
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.files.yaml_document import read_yaml, write_yaml

FILE = Path("search_spaces/own_pictures.yaml")
SIZE = 3  # members of an ensemble: as many as `budget.checkpoints` keeps


def write_file(work: Path, manifest: str, weights: str, seed: int) -> Path:
    """The shipped file with the lines changed that a user changes."""
    tree = read_yaml(FILE.read_bytes(), str(FILE))
    tree["name"] = f"own_pictures_{seed}"
    tree["base"]["data"]["source"] = manifest
    tree["base"]["model"]["pretrained_file"] = weights
    tree["base"]["seed"] = tree["sampler"]["seed"] = seed
    path = work / f"{tree['name']}.yaml"
    path.write_bytes(write_yaml(tree))
    return path


def search(file: Path, work: Path) -> None:
    """A whole `kmcl search`, or the rest of one."""
    command = [sys.executable, "-m", "kmcl_platform.cli", "search", str(file), "--store", str(work / "store")]
    subprocess.run(command, check=True)


def champion(file: Path, work: Path, size: int) -> dict[str, Any]:
    """mAP on both splits of the best trial, or of the ensemble of the best ones."""
    from kmcl_platform.registry import promote

    # With a reason, because the gates may refuse one of the two; both are scored in any case.
    result = promote(open_store(work / "store"), file.stem, ensemble=size, force="measured")
    trials = [row.number for row in (result.row, *result.others)]
    scores = {split: result.metrics[f"{split}/mAP"] for split in ("val", "test")}
    return {"way": "search", "trials": trials, **scores, "values": result.row.values}


def plain_ensemble(results: list[dict[str, Any]], work: Path, seed: int) -> dict[str, Any]:
    """mAP of the mean logits of the plain loop's three best learning rates."""
    own = [one for one in results if one["seed"] == seed and "lr" in one]
    best = sorted(own, key=lambda one: -float(one["val"]))[:SIZE]
    files = [load_file(work / f"plain-{seed}-{one['lr']:g}.safetensors") for one in best]
    scores = {
        split: mean_average_precision(
            torch.stack([one[f"{split}_logits"] for one in files]).mean(0), files[0][f"{split}_targets"]
        )
        for split in ("val", "test")
    }
    return {"way": "plain", "lrs": [one["lr"] for one in best], **scores}


def table(results: list[dict[str, Any]], size: int) -> str:
    """Both ways for each seed, and their mean difference on the test split; one model each, or ensembles of `size`."""
    one_each = size == 1
    lines = [
        "| seed | search: trials | val | test | plain loop: lr | val | test | difference on test |",
        "|---" * 8 + "|",
    ]
    gaps = []
    for seed in sorted({one["seed"] for one in results}):
        found = [one for one in results if one["seed"] == seed]
        ours = next((one for one in found if len(one.get("trials", ())) == size), None)
        if one_each:
            plain = max((one for one in found if "lr" in one), key=lambda one: one["val"], default=None)
        else:
            plain = next((one for one in found if one.get("way") == "plain"), None)
        if not ours or not plain:
            continue
        gaps.append(ours["test"] - plain["test"])
        lrs = ", ".join(f"{lr:g}" for lr in plain.get("lrs", [plain.get("lr")]))
        lines.append(
            f"| {seed} | {', '.join(map(str, ours['trials']))} | {ours['val']:.4f} | {ours['test']:.4f} | {lrs} | "
            f"{plain['val']:.4f} | {plain['test']:.4f} | {gaps[-1]:+.4f} |"
        )
    if gaps:
        lines.append(f"\nmean difference on test: {statistics.mean(gaps):+.4f}, {len(gaps)} seeds")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", required=True, help="MANIFEST.parquet,WEIGHTS.safetensors")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    # Otherwise the searches would run on the cluster that the environment names.
    os.environ.pop("RAY_ADDRESS", None)
    manifest, weights = (str(Path(word).absolute()) for word in options.data.split(","))
    path = work / "own_pictures.jsonl"
    results = read_results(path)

    def keep(result: dict[str, Any]) -> None:
        results.append(result)
        append_result(path, result)
        print(json.dumps(result), flush=True)

    def known(seed: int, **fields: Any) -> bool:
        return any(one["seed"] == seed and fields.items() <= one.items() for one in results)

    for seed in range(options.seeds):
        file = write_file(work, manifest, weights, seed)
        base = read_search_file(file).base
        for lr in LEARNING_RATES:
            if not known(seed, lr=lr):
                logits = work / f"plain-{seed}-{lr:g}.safetensors"
                keep(train(base.with_values({"optim.lr": lr}), open_manifest(manifest, work / "data"), logits))
        if not known(seed, way="plain"):
            keep({"seed": seed, **plain_ensemble(results, work, seed)})
        if not known(seed, way="search"):
            search(file, work)
            for size in (1, SIZE):
                keep({"seed": seed, **champion(file, work, size)})
    for size in (1, SIZE):
        print(f"{size} of each\n\n{table(results, size)}\n")


if __name__ == "__main__":
    main()
