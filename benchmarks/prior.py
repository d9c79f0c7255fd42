"""What is a prior worth if it is right, and what does it cost if it is wrong? Simulated searches over several archives.

    python -m benchmarks.prior --searches 200 [--report PAGE] FILE.yaml=ARCHIVE.parquet [FILE.yaml=ARCHIVE.parquet …]

The right prior has its centres at the medians of the archive's best tenth of the points, the wrong one at those of the
worst tenth that did not diverge. The target is the median best value of `TRIALS` trials without a prior. The table has
the median number of epochs until a search reaches it. A search that does not reach it counts with all its epochs.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file, read_search_file
from kmcl_platform.config.space.distributions import Choice, LogUniform
from kmcl_platform.config.trial_config import Scalar
from kmcl_platform.files.yaml_document import write_yaml
from kmcl_platform.search.replay.archive_curves import ArchiveCurves, read_curves
from kmcl_platform.search.replay.many_searches import simulate_many
from kmcl_platform.search.replay.surrogate import Surrogate
from kmcl_platform.search.replay.virtual_search import VirtualSearch
from kmcl_platform.seeds import derive_seed

TRIALS = 24
AT_ONCE = 2
CONFIDENCES = (0.5, 0.8)


def typical_point(points: list[dict[str, Scalar]], file: SearchFile) -> dict[str, Scalar]:
    """The median of each path over some points; of a choice, the commonest value."""
    found: dict[str, Scalar] = {}
    for path, distribution in file.space.items():
        values = [point[path] for point in points if path in point]
        if isinstance(distribution, Choice):
            found[path] = max(set(values), key=values.count)
        elif values:
            places = [distribution.to_place(float(v)) if isinstance(distribution, LogUniform) else v for v in values]  # type: ignore[arg-type]
            middle = sorted(places)[len(places) // 2]  # type: ignore[type-var]
            found[path] = distribution.to_value(float(middle)) if isinstance(distribution, LogUniform) else middle  # type: ignore[arg-type]
    return found


def make_priors(archive: ArchiveCurves, file: SearchFile) -> dict[str, dict[str, Any] | None]:
    """Priors by name; the first is none."""
    # Of one seed: a lucky seed would lift points that are not the best ones.
    whole = [
        (file.objective.sign * archive.curves[place].values_E[-1], place)
        for place in archive.own
        if not archive.curves[place].diverged
    ]
    ranked = [place for _, place in sorted(whole, reverse=True)]
    tenth = max(3, len(ranked) // 10)
    priors: dict[str, dict[str, Any] | None] = {"no prior": None}
    for name, places in (("right", ranked[:tenth]), ("wrong", ranked[-tenth:])):
        point = typical_point([archive.points[place] for place in places], file)
        for confidence in CONFIDENCES:
            paths = {path: {"center": value} for path, value in point.items()}
            priors[f"{name}, confidence {confidence}"] = {"confidence": confidence, "paths": paths}
    return priors


def epochs_to(target: float, search: VirtualSearch, sign: int, limit: int) -> float:
    """Epochs until a search has a value as good as the target."""
    reached = (epochs for epochs, best in zip(search.epochs, search.best, strict=True) if sign * (best - target) >= 0)
    return next(reached, limit)


def table(file: SearchFile, archive: ArchiveCurves, searches: int) -> list[str]:
    """One row for each prior."""
    tree = file.model_dump() | {"budget": {"trials": TRIALS}, "baselines": (), "baseline": False}
    tree |= {"sampler": {"kind": "tpe", "startup_trials": 8}, "scheduler": {"kind": "none"}}
    files = {
        name: parse_search_file(write_yaml(tree | {"prior": prior}), name)
        for name, prior in make_priors(archive, file).items()
    }
    seeds = [derive_seed(0, "prior", number) for number in range(searches)]
    found = simulate_many(files, archive, Surrogate(archive, file), seeds=seeds, at_once=AT_ONCE)
    sign, limit = file.objective.sign, TRIALS * file.base.num_epochs
    finals = [search.final for search in found["no prior"] if not math.isnan(search.final)]
    target = float(np.median(finals))
    lines, rival = [], 0.0
    for name, several in found.items():
        epochs = float(np.mean([epochs_to(target, search, sign, limit) for search in several]))
        rival = rival or epochs
        best = float(np.nanmedian([search.final for search in several]))
        lines.append(f"| {file.name} | {name} | {epochs:.0f} | {epochs / rival - 1:+.0%} | {best:.4f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="FILE.yaml=ARCHIVE.parquet")
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    lines = ["| search | prior | epochs to the target, mean | against none | best value, median |", "|---" * 5 + "|"]
    for pair in arguments.pairs:
        path, _, place = pair.partition("=")
        file = read_search_file(Path(path))
        lines += table(file, read_curves([Path(place)], file), arguments.searches)
        print("\n".join(lines), flush=True)
    if arguments.report:
        command = f"python -m benchmarks.prior --searches {arguments.searches} {' '.join(arguments.pairs)}"
        intro = ["# What a prior is worth", "", f"Written by `{command}`.", ""]
        arguments.report.write_text("\n".join([*intro, *lines, ""]))


if __name__ == "__main__":
    main()
