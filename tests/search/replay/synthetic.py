"""An archive of trials that nobody trained: curves of a known formula, with noise between seeds."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.tracking.archive.archive_file import write_archive
from kmcl_platform.tracking.archive.schema import to_table

SEARCH = """
name: formula
base:
  loss: {temperature: 0.2}
  optim: {lr: 1e-3}
  num_epochs: 6
baselines: []
space:
  optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}
  loss.temperature: {kind: uniform, low: 0.1, high: 1}
budget: {trials: 12}
scheduler: {kind: successive_halving, min_epochs: 2, reduction_factor: 3}
sampler: {kind: tpe, startup_trials: 4, seed: 1}
"""

NOISE = 0.01

FILE = parse_search_file(SEARCH.encode(), "formula.yaml")


def changed(**parts: Any) -> SearchFile:
    """The search with other parts."""
    return SearchFile.model_validate(FILE.model_dump() | parts)


OTHER_SEED = changed(base=FILE.base.with_values({"seed": 9}).model_dump())
"""A search with a seed that no trial of the archive has."""


def final_value(config: TrialConfig) -> float:
    """The last value of a trial without noise: best at a learning rate of 1e-2 and a temperature of 0.4."""
    return 0.8 - 0.1 * math.log10(config.optim.lr / 1e-2) ** 2 - 0.3 * (config.loss.temperature - 0.4) ** 2


def curve(config: TrialConfig, num_epochs: int = 6) -> np.ndarray:
    """The values of a trial after each epoch, without noise. The order after the first epoch is that of the rates."""
    epochs = np.arange(1, num_epochs + 1)
    slow = 1 - np.exp(-epochs / 1.5)
    values_E: np.ndarray = final_value(config) * slow / slow[-1]
    values_E[0] = 0.2 + 0.01 * math.log10(config.optim.lr)
    return values_E


def rows(file: SearchFile, count: int, *, seeds: int = 1, diverges_above: float = math.inf) -> list[dict[str, Any]]:
    """Random points of a file's space as rows of an archive; the first tenth of them has several seeds."""
    rng = np.random.default_rng(5)
    found: list[dict[str, Any]] = []
    number = 0
    for point in range(count):
        lr, temperature = float(10 ** rng.uniform(-4, -1)), float(rng.uniform(0.1, 1))
        for seed in range(seeds if point < count / 10 else 1):
            config = file.base.with_values({"optim.lr": lr, "loss.temperature": temperature, "seed": seed})
            values_E = curve(config) + rng.normal(scale=NOISE)
            diverged = lr > diverges_above
            common = {
                "store": "a", "search": file.name, "trial": number,
                "config": json.dumps(config.model_dump(mode="json")),
                "baseline": "", "outcome": "diverged" if diverged else "completed", "reason": "",
                "value": None if diverged else float(values_E[-1]),
                "objective": "val/mAP", "mode": "maximize", "num_epochs": 6, "device": "cpu", "workers": 1,
                "dataset": "formula", "dataset_hash": "0" * 64, "packages": "{}",
            }  # fmt: skip
            length = 2 if diverged else 6
            for epoch, value in enumerate(values_E[:length], start=1):
                found.append(common | {"epoch": epoch, "seconds": 10.0, "time_ms": 0, "val/mAP": float(value)})
            number += 1
    return found


def write_synthetic(folder: Path, file: SearchFile, count: int = 80, **options: Any) -> Path:
    path = folder / "formula.parquet"
    write_archive(to_table(rows(file, count, **options), "the test"), path)
    return path
