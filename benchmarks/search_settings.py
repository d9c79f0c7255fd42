"""Which sampler and which scheduler find most for the same epochs? Simulated searches over several archives.

    python -m benchmarks.search_settings --searches 200 --report PAGE \\
        benchmarks/curves/digits.yaml=benchmarks/curves/digits.parquet [FILE.yaml=ARCHIVE.parquet …]

Each setting is simulated with every archive by `kmcl_platform.search.replay`, which uses the study, the samplers and
the pruners of a real search. All settings get the epochs of `TRIALS` whole trials. The first table ranks them by the
median of the best values at these epochs, on average over the archives; the others have the numbers of each archive.

Two settings are no part of the platform, and are here for comparison: Optuna's median pruner, and CMA-ES, which needs
the package cmaes. Tune's ASHA with random points is `random` with successive halving.
"""

import argparse
import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.plugins import Sampler, Scheduler, register
from kmcl_platform.search.replay.archive_curves import ArchiveCurves, read_curves
from kmcl_platform.search.replay.many_searches import simulate_many
from kmcl_platform.search.replay.replay import Outcome
from kmcl_platform.search.replay.surrogate import Surrogate
from kmcl_platform.seeds import derive_seed

TRIALS = 24
"""Whole trials whose epochs every setting gets."""
AT_ONCE = 2
SHARES = (1 / 3, 1 / 2, 1.0)
"""Shares of these epochs at which the settings are compared."""
TARGET = "random, none"
"""The setting whose median best value, at all epochs, is the target."""

NONE: dict[str, Any] = {"kind": "none"}


def halving(first: int, factor: int) -> dict[str, Any]:
    return {"kind": "successive_halving", "min_epochs": first, "reduction_factor": factor}


def tpe(startup: int) -> dict[str, Any]:
    return {"kind": "tpe", "startup_trials": startup}


def list_settings(num_epochs: int) -> dict[str, dict[str, Any]]:
    """Samplers and schedulers by name. Rungs are written as epochs of a trial of `num_epochs`."""
    random = {"kind": "random"}
    first_rungs = sorted({max(1, round(share * num_epochs)) for share in (1 / 6, 1 / 4, 1 / 3, 1 / 2)})
    settings: dict[str, dict[str, Any]] = {
        TARGET: {"sampler": random, "scheduler": NONE},
        "qmc, none": {"sampler": {"kind": "qmc"}, "scheduler": NONE},
        "gp, none": {"sampler": {"kind": "gp", "startup_trials": 8}, "scheduler": NONE},
        "cmaes, none": {"sampler": {"kind": "cmaes"}, "scheduler": NONE},
        "tpe 10, hyperband (Optuna's pair)": {
            "sampler": tpe(10), "scheduler": {"kind": "hyperband", "min_epochs": 1, "reduction_factor": 3}
        },
        "tpe 10, median (Optuna's pair)": {"sampler": tpe(10), "scheduler": {"kind": "median"}},
        "random, asha 1/4 (Tune's pair)": {"sampler": random, "scheduler": halving(1, 4)},
    }  # fmt: skip
    for startup in (2, 5, 10):
        settings[f"tpe {startup}, none"] = {"sampler": tpe(startup), "scheduler": NONE}
    for first in first_rungs:
        for factor in (2, 3, 4):
            for startup in (5, 10):
                settings[f"tpe {startup}, halving {first}/{factor}"] = {
                    "sampler": tpe(startup), "scheduler": halving(first, factor)
                }  # fmt: skip
            settings[f"random, halving {first}/{factor}"] = {"sampler": random, "scheduler": halving(first, factor)}
    for factor in (2, 3):
        for startup in (5, 10):
            settings[f"tpe {startup}, adaptive {factor}"] = {
                "sampler": tpe(startup), "scheduler": {"kind": "adaptive", "reduction_factor": factor}
            }  # fmt: skip
    return settings


@register("cmaes")
class CmaEs(Sampler):
    """CMA-ES, for comparison."""

    def build_sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)


@register("median")
class Median(Scheduler):
    """Optuna's median pruner, for comparison."""

    def build_pruner(self, num_epochs: int) -> optuna.pruners.BasePruner:
        return optuna.pruners.MedianPruner()

    def stopping_epochs(self, num_epochs: int) -> list[int]:
        return list(range(1, num_epochs))


def simulate_all(file: SearchFile, archive: ArchiveCurves, searches: int) -> dict[str, Outcome]:
    """The simulated searches of every setting."""
    settings = list_settings(file.base.num_epochs)
    if importlib.util.find_spec("cmaes") is None:
        del settings["cmaes, none"]
    files = {}
    for name, parts in settings.items():
        # With early stopping more trials fit into the same epochs; a few more than that, so that none ends too early.
        trials = TRIALS if parts["scheduler"] is NONE else 3 * TRIALS
        tree = file.model_dump() | parts | {"budget": {"trials": trials}, "baselines": ()}
        files[name] = SearchFile.model_validate(tree)

    def show(name: str, done: int, _: int) -> None:
        if done == searches:
            print(f"{file.name}: {name}", flush=True)

    found = simulate_many(
        files,
        archive,
        Surrogate(archive, file),
        seeds=[derive_seed(0, "search settings", number) for number in range(searches)],
        at_once=AT_ONCE,
        progress=show,
    )
    return {name: Outcome(name, results) for name, results in found.items()}


def _median(values: np.ndarray, sign: int) -> float:
    """The median; a search without a completed trial has the worst value."""
    return float(np.median(np.where(np.isnan(values), -sign * math.inf, values)))


def _epochs_to(outcome: Outcome, target: float, sign: int, limit: int) -> float:
    moments = sorted({epochs for one in outcome.searches for epochs in one.epochs if epochs <= limit})
    reached = (m for m in moments if sign * _median(outcome.best_at(m), sign) >= sign * target)
    return next(reached, math.inf)


def tables(results: dict[str, tuple[SearchFile, dict[str, Outcome]]]) -> list[str]:
    """The Markdown of the page."""
    ranks: dict[str, dict[str, float]] = {}
    parts: list[str] = []
    for label, (file, outcomes) in results.items():
        sign, limit = file.objective.sign, TRIALS * file.base.num_epochs
        medians = {
            name: [_median(one.best_at(share * limit), sign) for share in SHARES] for name, one in outcomes.items()
        }
        target = medians[TARGET][-1]
        ordered = sorted(medians, key=lambda name: -sign * medians[name][-1])
        for place, name in enumerate(ordered, start=1):
            ranks.setdefault(name, {})[label] = place
        parts += [
            f"## {label}", "",
            f"Epochs of {TRIALS} whole trials: {limit}. Target: {target:.4f}, the median of `{TARGET}`.",
            "",
            "| setting | after a third | after half | after all epochs | quartiles | epochs to the target | regret |",
            "|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for name in ordered:
            one = outcomes[name]
            low, high = np.nanpercentile(one.best_at(limit), (25, 75))
            to_target = _epochs_to(one, target, sign, limit)
            parts.append(
                f"| {name} | {' | '.join(f'{value:.4f}' for value in medians[name])} | {low:.4f} to {high:.4f} | "
                f"{'never' if math.isinf(to_target) else f'{to_target:.0f} ({to_target / limit:.0%})'} | "
                f"{np.mean([search.regret for search in one.searches]):.4f} |"
            )
        parts.append("")
    everywhere = {name: own for name, own in ranks.items() if len(own) == len(results)}
    head = ["| setting | mean rank | " + " | ".join(results) + " |", "|---|---|" + "---|" * len(results)]
    for name, own in sorted(everywhere.items(), key=lambda item: sum(item[1].values())):
        places = " | ".join(f"{own[label]:.0f}" for label in results)
        head.append(f"| {name} | {sum(own.values()) / len(own):.1f} | {places} |")
    return [*head, "", *parts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="FILE.yaml=ARCHIVE.parquet")
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    results: dict[str, tuple[SearchFile, dict[str, Outcome]]] = {}
    for pair in arguments.pairs:
        path, _, archive = pair.partition("=")
        file = read_search_file(Path(path))
        results[file.name] = file, simulate_all(file, read_curves([Path(archive)], file), arguments.searches)
    lines = tables(results)
    print("\n".join(lines))
    if arguments.report:
        command = f"python -m benchmarks.search_settings --searches {arguments.searches} {' '.join(arguments.pairs)}"
        intro = ["# Samplers and schedulers", "", f"Written by `{command}`.", ""]
        arguments.report.write_text("\n".join([*intro, *lines]) + "\n")


if __name__ == "__main__":
    main()
