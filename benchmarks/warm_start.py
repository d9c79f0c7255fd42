"""What is a warm start worth, from a related search and from one that tells nothing? Simulated searches over archives.

    python -m benchmarks.warm_start --searches 200 [--report PAGE] FILE.yaml=ARCHIVE.parquet FILE.yaml=ARCHIVE.parquet …

Each archive is searched with the points of the others (other data), with its own points (the same data, searched
before), and with its own points in the wrong order, so that the worst ones are trained first. The target is that of
`kmcl replay`: the median best value of a random search of `TRIALS` trials. The table has the mean number of epochs
until a search reaches it. A search that does not reach it counts with all its epochs.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prior import AT_ONCE, TRIALS, epochs_to
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file, read_search_file
from kmcl_platform.files.yaml_document import write_yaml
from kmcl_platform.search.replay.archive_curves import read_curves
from kmcl_platform.search.replay.many_searches import simulate_many
from kmcl_platform.search.replay.surrogate import Surrogate
from kmcl_platform.search.sampling.first_points import (
    COLD,
    FormerTrial,
    WarmStart,
    choose_first_points,
    take_in_turn,
)
from kmcl_platform.search.warm_start import read_trials
from kmcl_platform.seeds import derive_seed

SCHEDULERS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "adaptive": {"kind": "adaptive", "reduction_factor": 2},
}


def reverse(trials: Sequence[FormerTrial]) -> list[FormerTrial]:
    """The same trials, of which the worst ones seem to be the best."""
    return [replace(trial, value=None if trial.value is None else -trial.value) for trial in trials]


def table(place: int, files: Sequence[SearchFile], archives: Sequence[Path], searches: int) -> list[str]:
    """One row for each warm start of one of the files, and each way to stop trials."""
    own, archive = files[place], read_curves([archives[place]], files[place])
    surrogate, seeds = Surrogate(archive, own), [derive_seed(0, "warm start", number) for number in range(searches)]
    common = own.model_dump() | {"budget": {"trials": TRIALS}, "baselines": (), "baseline": False}
    chance = common | {"sampler": {"kind": "random"}, "scheduler": {"kind": "none"}}
    randoms = {"random": parse_search_file(write_yaml(chance), own.name)}
    found = simulate_many(randoms, archive, surrogate, seeds=seeds, at_once=AT_ONCE)
    target = float(np.nanmedian([search.final for search in found["random"]]))
    lines = []
    for name, scheduler in SCHEDULERS.items():
        tree = common | {"sampler": {"kind": "tpe", "startup_trials": 8}, "scheduler": scheduler}
        file = parse_search_file(write_yaml(tree), own.name)
        starts = {"nothing": COLD}
        for other, path in zip(files, archives, strict=True):
            trials = read_trials(str(path), file, None)
            kinds = {other.name: trials} | ({f"{own.name}, reversed": reverse(trials)} if other is own else {})
            for kind, several in kinds.items():
                starts[kind] = WarmStart(take_in_turn([choose_first_points(several, file)], file))
        found = simulate_many(
            dict.fromkeys(starts, file),
            archive,
            surrogate,
            seeds=seeds,
            at_once=AT_ONCE,
            warm_starts=starts,
        )
        sign, limit = file.objective.sign, TRIALS * file.base.num_epochs
        means = {kind: np.mean([epochs_to(target, one, sign, limit) for one in all_]) for kind, all_ in found.items()}
        for kind, several_searches in found.items():
            best = float(np.nanmedian([search.final for search in several_searches]))
            change = means[kind] / means["nothing"] - 1
            lines.append(f"| {own.name} | {name} | {kind} | {means[kind]:.0f} | {change:+.0%} | {best:.4f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="FILE.yaml=ARCHIVE.parquet")
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    files = [read_search_file(Path(pair.partition("=")[0])) for pair in arguments.pairs]
    archives = [Path(pair.partition("=")[2]) for pair in arguments.pairs]
    lines = [
        "| search | early stopping | warm start from | epochs to the target | against nothing | best value, median |",
        "|---" * 6 + "|",
    ]
    for place in range(len(files)):
        lines += table(place, files, archives, arguments.searches)
        print("\n".join(lines), flush=True)
    if arguments.report:
        command = f"python -m benchmarks.warm_start --searches {arguments.searches} {' '.join(arguments.pairs)}"
        arguments.report.write_text(
            "\n".join(["# What a warm start is worth", "", f"Written by `{command}`.", "", *lines, ""])
        )


if __name__ == "__main__":
    main()
