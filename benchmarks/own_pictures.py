"""The shipped file for own pictures, as a user runs it, compared with a plain loop.

    python -m benchmarks.own_pictures --work FOLDER --data MANIFEST.parquet,WEIGHTS.safetensors [--seeds 3]

For each seed: `search_spaces/own_pictures.yaml` with this manifest, these weights and this seed of the sampler, a whole
`kmcl search`, then `kmcl promote`, which scores the best trial on the test split. The plain loop is that of
`benchmarks.plain_loop --tune`: binary cross-entropy, the best of five learning rates on `val`, as many epochs, one
training for each seed. Each result is one line of FOLDER/own_pictures.jsonl. The same command continues from there and
prints the table.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.plain_loop import LEARNING_RATES, train
from benchmarks.results import append_result, read_results
from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.config.store import open_store
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.files.yaml_document import read_yaml, write_yaml

FILE = Path("search_spaces/own_pictures.yaml")


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


def search(file: Path, work: Path) -> dict[str, Any]:
    """Search and promote; returns the champion's mAP on both splits and the seconds of each command."""
    from kmcl_platform.registry import promote

    store, name = open_store(work / "store"), file.stem
    command = [sys.executable, "-m", "kmcl_platform.cli", "search", str(file), "--store", str(store.root)]
    started = time.monotonic()
    subprocess.run(command, check=True)
    searched = time.monotonic()
    result = promote(store, name)
    return {
        "val": result.metrics["val/mAP"],
        "test": result.metrics["test/mAP"],
        "trial": result.row.number,
        "values": result.row.values,
        "search_seconds": searched - started,
        "promote_seconds": time.monotonic() - searched,
    }


def table(results: list[dict[str, Any]]) -> str:
    """Both ways for each seed, and their mean difference on the test split."""
    lines = [
        "| seed | search: val | search: test | plain loop: lr | val | test | difference on test |",
        "|---" * 7 + "|",
    ]
    gaps = []
    for seed in sorted({one["seed"] for one in results}):
        found = [one for one in results if one["seed"] == seed]
        ours = next((one for one in found if "trial" in one), None)
        plain = max((one for one in found if "lr" in one), key=lambda one: one["val"], default=None)
        cells = [f"{ours['val']:.4f}", f"{ours['test']:.4f}"] if ours else ["", ""]
        cells += [f"{plain['lr']:g}", f"{plain['val']:.4f}", f"{plain['test']:.4f}"] if plain else ["", "", ""]
        if ours and plain:
            gaps.append(ours["test"] - plain["test"])
        lines.append(f"| {seed} | " + " | ".join(cells) + f" | {f'{gaps[-1]:+.4f}' if ours and plain else ''} |")
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

    for seed in range(options.seeds):
        file = write_file(work, manifest, weights, seed)
        base = read_search_file(file).base
        if not any(one["seed"] == seed and "trial" in one for one in results):
            keep({"seed": seed, **search(file, work)})
        for lr in LEARNING_RATES:
            if not any(one["seed"] == seed and one.get("lr") == lr for one in results):
                keep(train(base.with_values({"optim.lr": lr}), open_manifest(manifest, work / "data")))
    print(table(results))


if __name__ == "__main__":
    main()
