"""Does KMCL help? The arms of `search_spaces/digits_arms.yaml`, tuned in the same way, then trained on new seeds.

    python -m benchmarks.digits_arms [--settings plain few imbalanced crowded] [--work FOLDER]

There are four settings of the embedded digits. In each, every arm gets the same number of trials (`kmcl search`). Its
best trial by validation mAP is trained again with five seeds that the search did not use, and the averaged weights
are scored on the test split, which was not used before. A control then shows whether the tuning was fair: every arm is
trained with the learning rate of the arm that was best on validation, and scored on validation. Each result is saved in
the work folder. The same command continues from there, and writes the report from what it finds.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Before torch is imported, here and in the processes that are started: one thread each.
os.environ["OMP_NUM_THREADS"] = "1"


from benchmarks.digits_report import describe_setting, write_report
from benchmarks.digits_settings import SEEDS, SETTINGS, count_data
from kmcl_platform.config.arms import expand_arms
from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.files.atomic_write import atomic_file
from kmcl_platform.files.yaml_document import read_yaml, write_yaml
from kmcl_platform.training.checkpoints.checkpoint import read_progress
from kmcl_platform.training.checkpoints.checkpoint_folder import AVERAGE, find_checkpoint

PROCESSES = 2
ARMS_FILE = Path("search_spaces/digits_arms.yaml")
REPORT = Path("docs/experiments/digits_arms.md")


def run_setting(setting: str, work: Path, trials: int, epochs: int | None, seeds: tuple[int, ...]) -> None:
    """Tune every arm, train its best trial again on each seed, score the test split."""
    build, own_epochs, scheduler = SETTINGS[setting]
    path = work / f"{setting}.parquet"
    if not path.exists():
        write_manifest(build(), path)
    tree = read_yaml(ARMS_FILE.read_bytes(), str(ARMS_FILE))
    tree["name"] = f"{tree['name']}-{setting}"
    tree["base"]["data"]["source"] = str(path)
    tree["base"]["num_epochs"] = epochs or own_epochs
    tree["scheduler"] = scheduler
    tree["budget"]["trials"] = trials
    # The new seeds are trained here, and scored on the test split.
    tree["verdict"] = {"seeds": 0}
    file = work / f"{setting}.yaml"
    file.write_bytes(write_yaml(tree))

    store = open_store(work / "store")
    result_path = work / f"{setting}.json"
    # What an earlier call has measured; only what is missing is trained.
    result: dict[str, Any] = json.loads(result_path.read_text()) if result_path.exists() else {"arms": {}, "minutes": 0}
    started = time.monotonic()
    command = [sys.executable, "-m", "kmcl_platform.cli", "search", str(file), "--store", str(store.root)]
    subprocess.run(command, check=True)
    arms = {search.name.removeprefix(f"{tree['name']}-"): search.name for search in expand_arms(read_search_file(file))}
    result |= {"trials": trials, "epochs": epochs or own_epochs}
    result |= {"data": count_data(read_manifest(path))}
    for arm, search in arms.items():
        # If the best trial has changed, the scores of the former one do not count.
        tuned = find_best(store, search)
        if result["arms"].get(arm, {}).get("config") != tuned["config"]:
            result["arms"][arm] = {"test": {}}
        result["arms"][arm] |= tuned
    tasks = [
        (
            arm,
            seed,
            result["arms"][arm]["config"],
            str(path),
            str(work / "retrained" / setting / f"{arm}-{trial}-{seed}"),
        )
        # All arms of one seed come before the next seed: a benchmark that is stopped has complete pairs.
        for seed in seeds
        for arm in arms
        if str(seed) not in result["arms"][arm]["test"]
        for trial in [result["arms"][arm]["trial"]]
    ]
    minutes = result["minutes"]
    # "spawn": a forked process would inherit torch's threads and locks in an unknown state.
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for arm, seed, score in pool.imap_unordered(retrain, tasks):
            print(f"{setting}: {arm}, seed {seed}: test mAP {score:.2f} %", flush=True)
            result["arms"][arm]["test"][str(seed)] = score
            result["minutes"] = minutes + (time.monotonic() - started) / 60
            # After each score, which costs minutes of training.
            save(result, result_path)


def run_control(setting: str, work: Path) -> None:
    """Validation mAP of the arms under the learning rate of the arm that did best there, with the search's own seed."""
    result_path = work / f"{setting}.json"
    result = json.loads(result_path.read_text())
    arms = result["arms"]
    leader = max(arms, key=lambda arm: arms[arm]["val"])
    rate = arms[leader]["config"]["optim"]["lr"]
    # Measured already, with the learning rate of the same arm.
    if result.get("control", {}).get("leader") == leader:
        return
    tasks = [
        (arm, config, str(work / f"{setting}.parquet"), str(work / "control" / setting / f"{arm}-{rate:.6g}"))
        for arm in arms
        # The leader itself, and arms with the same rate, would only repeat their trial.
        if (config := TrialConfig.model_validate(arms[arm]["config"]).with_values({"optim.lr": rate}).model_dump())
        != arms[arm]["config"]
    ]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        scores = dict(pool.imap_unordered(validate_control, tasks))
    save(result | {"control": {"leader": leader, "lr": rate, "val": scores}}, result_path)


def validate_control(task: tuple[str, dict[str, Any], str, str]) -> tuple[str, float]:
    """Train a configuration unchanged; return the validation mAP of its last epoch."""
    import torch

    from kmcl_platform.training.fit import fit
    from kmcl_platform.training.workers.distributed import Workers

    arm, values, path, folder = task
    torch.set_num_threads(1)
    alone = Workers(rank=0, world_size=1, device=torch.device("cpu"))
    config = TrialConfig.model_validate(values)
    fit(config, read_manifest(Path(path)), checkpoints=Path(folder), report=lambda _: True, workers=alone)
    checkpoint = find_checkpoint(Path(folder))
    assert checkpoint is not None
    return arm, float(read_progress(checkpoint).reports[-1].metrics["val/mAP"])


def find_best(store: Store, search: str) -> dict[str, Any]:
    """The best completed trial of an arm's search, and how the others ended."""
    from kmcl_platform.tracking.runs.leaderboard import count_outcomes, read_leaderboard

    board = read_leaderboard(store, search)
    best = board.best()
    checkpoint = find_checkpoint(store.trial_checkpoints(search, best.number))
    assert checkpoint is not None
    return {
        "trial": best.number,
        "val": best.objective,
        "values": best.values,
        "outcomes": count_outcomes(board.rows),
        "config": read_progress(checkpoint).config.model_dump(),
    }


def retrain(task: tuple[str, int, dict[str, Any], str, str]) -> tuple[str, int, float]:
    """Train a configuration with another seed in this process; the test mAP of its averaged weights, in percent."""
    import torch
    from safetensors.torch import load_file

    from kmcl_platform.training.build import build_dataset, build_model
    from kmcl_platform.training.evaluate import SplitScorer, split_metrics
    from kmcl_platform.training.fit import fit
    from kmcl_platform.training.workers.distributed import Workers

    arm, seed, values, path, folder = task
    torch.set_num_threads(1)
    config = TrialConfig.model_validate(values | {"seed": seed})
    manifest = read_manifest(Path(path))
    alone = Workers(rank=0, world_size=1, device=torch.device("cpu"))
    fit(config, manifest, checkpoints=Path(folder), report=lambda _: True, workers=alone)
    checkpoint = find_checkpoint(Path(folder))
    assert checkpoint is not None
    model = build_model(config, len(manifest.class_names))
    model.load_state_dict(load_file(checkpoint / AVERAGE))
    test_set = build_dataset(config, manifest, "test")
    scores_NK, targets_NK = SplitScorer(test_set, batch_size=config.data.batch_size, workers=alone).score(model)
    return arm, seed, 100 * split_metrics("test", scores_NK, targets_NK)["test/mAP"]


def save(result: dict[str, Any], path: Path) -> None:
    """Write JSON; a kill leaves the old file or the new one."""
    with atomic_file(path) as draft:
        draft.write_text(json.dumps(result, indent=1))


def main() -> None:
    """Run the chosen settings, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--work", type=Path, default=Path("build/digits_arms"))
    parser.add_argument("--trials", type=int, default=12, help="trials of each arm")
    parser.add_argument("--epochs", type=int, help="epochs, in place of the setting's own")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    # Otherwise the searches would run on the cluster that the environment names.
    os.environ.pop("RAY_ADDRESS", None)
    for setting in options.settings:
        run_setting(setting, work, options.trials, options.epochs, tuple(options.seeds))
        run_control(setting, work)
        print(describe_setting(setting, json.loads((work / f"{setting}.json").read_text())), flush=True)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(write_report(work, "python -m benchmarks.digits_arms"))


if __name__ == "__main__":
    main()
