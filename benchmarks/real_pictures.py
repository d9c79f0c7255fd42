"""Where does KMCL pay? All its arms and the plain losses, on real pictures, with all or only some of the labels.

    python -m benchmarks.real_pictures --work FOLDER --weights WEIGHTS.safetensors \\
        --data digits@64 clip@64=CLIP.parquet clip@160=CLIP.parquet emoji@64=EMOJI.parquet kanji@64=KANJI.parquet \\
        [--fine-tune digits] [--trials 12] --report PAGE

A word of `--data` is NAME@PIXELS=MANIFEST. Its pictures go once through a frozen backbone; then every arm is tuned in
every condition by a search of the same budget, and its best point is trained again on five new seeds and scored on the
test split. A word of `--fine-tune` is a dataset whose network is trained as a whole, in the same way.

`benchmarks/study/results` has a file for each dataset, with a line for each training. The same command continues from
there, and writes the page when no cell (dataset, condition, arm) lacks anything.
"""

import argparse
import itertools
import multiprocessing
import os
from collections.abc import Iterable
from pathlib import Path

# Before torch is imported, here and in the processes that are started: one thread each.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from benchmarks.results import Result, append_result, read_results
from benchmarks.study.data import compute_features, write_condition
from benchmarks.study.page import write_page
from benchmarks.study.settings import ARMS, CONDITIONS, FINE_TUNED, FROZEN, SEEDS
from benchmarks.study.train import run_cell
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.datasets import open_manifest

Cell = tuple[str, str, str]
"""A dataset, a condition and an arm."""

RESULTS = Path(__file__).parent / "study" / "results"


def prepare(word: str, weights: str, work: Path, *, fine_tune: bool) -> dict[str, TrialConfig]:
    """The recipe of a dataset in each condition; computes features and writes the manifests that are missing."""
    name, _, source = word.partition("=")
    place, _, pixels = name.partition("@")
    source = source or place
    manifest = open_manifest(source, work / "data")
    config = TrialConfig().with_values(FINE_TUNED if fine_tune else FROZEN | {"model.pretrained_file": weights})
    features_ND = None
    if not fine_tune:
        config = config.with_values({"data.source": source, "data.image_size": int(pixels)})
        path = work / f"{name.partition('=')[0]}.npy"
        compute_features(config, manifest, path)
        features_ND = np.load(path)
    found = {}
    for number, (condition, settings) in enumerate(CONDITIONS.items()):
        folder = work / "data" / f"{dataset_name(word, fine_tune=fine_tune)}-{number}"
        data = write_condition(manifest, settings, folder, features_ND)
        # The images of a frozen backbone are not read again.
        data = data.model_copy(update={"image_size": config.data.image_size})
        found[condition] = config.model_copy(update={"data": data})
    return found


def dataset_name(word: str, *, fine_tune: bool) -> str:
    """The name of a dataset's column."""
    name = word.partition("=")[0]
    return f"{name}, fine-tuned" if fine_tune else name


def results_path(dataset: str) -> Path:
    return RESULTS / f"{dataset.replace(', ', '-')}.jsonl"


def read_cells(datasets: Iterable[str]) -> dict[Cell, list[Result]]:
    """What is known of each cell."""
    found: dict[Cell, list[Result]] = {}
    for dataset in datasets:
        for one in read_results(results_path(dataset)):
            found.setdefault((dataset, one["condition"], one["arm"]), []).append(one)
    return found


def run(task: tuple[Cell, TrialConfig, list[Result], int, str]) -> Cell:
    """Do what is missing of one cell, in a process of its own."""
    import optuna
    import torch

    cell, config, known, trials, work = task
    dataset, condition, arm = cell
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def keep(result: Result) -> None:
        append_result(results_path(dataset), {"condition": condition} | result)

    run_cell(arm, config, known, keep, trials=trials, work=Path(work))
    return cell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", nargs="*", default=["digits@64"])
    parser.add_argument("--fine-tune", nargs="*", default=[])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--report", type=Path, required=True)
    options = parser.parse_args()
    work = options.work.absolute()
    RESULTS.mkdir(exist_ok=True)
    bases: dict[tuple[str, str], TrialConfig] = {}
    for fine_tune, words in ((False, options.data), (True, options.fine_tune)):
        for word in words:
            name = dataset_name(word, fine_tune=fine_tune)
            for condition, config in prepare(word, options.weights, work, fine_tune=fine_tune).items():
                bases[name, condition] = config
    cells: list[Cell] = [(*place, arm) for place, arm in itertools.product(bases, ARMS)]
    known = read_cells(dict.fromkeys(name for name, _ in bases))
    missing = [cell for cell in cells if len(known.get(cell, [])) < options.trials + len(SEEDS)]
    tasks = [(cell, bases[cell[:2]], known.get(cell, []), options.trials, str(work)) for cell in missing]
    # "spawn": a forked process would inherit torch's threads and locks in an unknown state.
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for done, cell in enumerate(pool.imap_unordered(run, tasks), start=1):
            print(f"{done}/{len(tasks)}: {', '.join(cell)}", flush=True)
    known = read_cells(dict.fromkeys(name for name, _ in bases))
    write_page({cell: known.get(cell, []) for cell in cells}, options.report, trials=options.trials)
    print(f"written: {options.report}")


if __name__ == "__main__":
    main()
