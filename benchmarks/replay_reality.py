"""Do simulated searches end as real ones do? A search file with several seeds of its sampler, and its simulation.

    python -m benchmarks.replay_reality --work FOLDER --archive benchmarks/curves/digits.parquet \\
        [--file search_spaces/digits.yaml] [--seeds 10] [--searches 200]

Each real search is `kmcl search` of the file with another seed of the sampler. It is one line of
FOLDER/replay_reality.jsonl; the same command continues from there. Then the same file is simulated with the curves of
the archive, as `kmcl replay` does. The table compares the best value and the epochs of all trials. Aims: medians of the
best value within 0.015, and medians of the epochs within 10 %.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.results import append_result, read_results
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.files.yaml_document import read_yaml, write_yaml
from kmcl_platform.search.replay.archive_curves import read_curves
from kmcl_platform.search.replay.many_searches import simulate_many
from kmcl_platform.search.replay.surrogate import Surrogate
from kmcl_platform.seeds import derive_seed
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard

GOOD = 0.80
"""The value that the demo should find with nearly every seed."""


def search(file: Path, seed: int, store: Store) -> dict[str, Any]:
    """A real search with this seed of the sampler: its best value, the epochs of all its trials, its seconds."""
    tree = read_yaml(file.read_bytes(), str(file))
    tree["name"] = f"{tree['name']}_{seed}"
    tree["sampler"]["seed"] = seed
    path = store.root / f"{tree['name']}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_yaml(tree))
    command = [sys.executable, "-m", "kmcl_platform.cli", "search", str(path), "--store", str(store.root)]
    started = time.monotonic()
    subprocess.run(command, check=True)
    board = read_leaderboard(store, tree["name"])
    return {
        "seed": seed,
        "best": board.best().objective,
        "epochs": sum(row.epochs for row in board.rows),
        "seconds": time.monotonic() - started,
    }


def simulated(file: SearchFile, archive: Path, searches: int, at_once: int) -> tuple[list[float], list[int]]:
    """The best value and the epochs of each simulated search."""
    curves = read_curves([archive], file)
    seeds = [derive_seed(0, "replay", number) for number in range(searches)]
    found = simulate_many({"": file}, curves, Surrogate(curves, file), seeds=seeds, at_once=at_once)[""]
    return [one.final for one in found], [one.total_epochs for one in found]


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--file", type=Path, default=Path("search_spaces/digits.yaml"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=1, help="trials at the same time in the real searches")
    options = parser.parse_args()
    # Otherwise the searches would run on the cluster that the environment names.
    os.environ.pop("RAY_ADDRESS", None)
    options.work.mkdir(parents=True, exist_ok=True)
    path, store = options.work / "replay_reality.jsonl", open_store(options.work.absolute() / "store")
    real = read_results(path)
    for seed in range(1, options.seeds + 1):
        if not any(one["seed"] == seed for one in real):
            real.append(search(options.file, seed, store))
            append_result(path, real[-1])
    best, epochs = simulated(read_search_file(options.file), options.archive, options.searches, options.at_once)
    print("| seed | best value | epochs | seconds |\n|---|---|---|---|")
    for one in real:
        print(f"| {one['seed']} | {one['best']:.4f} | {one['epochs']} | {one['seconds']:.0f} |")
    real_best, real_epochs = [one["best"] for one in real], [float(one["epochs"]) for one in real]
    print("\n| median (quartiles) | best value | epochs |\n|---|---|---|")
    print(f"| {len(real)} real searches | {quartiles(real_best)} | {quartiles(real_epochs)} |")
    print(f"| {len(best)} simulated searches | {quartiles(best)} | {quartiles([float(one) for one in epochs])} |")
    gap = statistics.median(best) - statistics.median(real_best)
    share = statistics.median(epochs) / statistics.median(real_epochs) - 1
    print(f"\nsimulated - real: {gap:+.4f} (aim: within 0.015), epochs {100 * share:+.0f} % (aim: within 10 %)")
    print(f"best value of at least {GOOD}: {sum(one >= GOOD for one in real_best)} of {len(real_best)} real searches")


if __name__ == "__main__":
    main()
