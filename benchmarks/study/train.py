"""One cell of the study: the search of one arm, then its best point on new seeds, scored on the test split.

Shape suffixes: N pictures, K classes.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.study.data import open_condition
from benchmarks.study.settings import ARMS, SEEDS, Range, Values
from kmcl_platform.config.after_search import Decision
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.loading.feature_dataset import FeatureDataset, SplitDataset
from kmcl_platform.data.loading.own_features import read_own_features, rows_of_split
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.errors import Diverged
from kmcl_platform.method.kernels.uncertainty import label_uncertainty
from kmcl_platform.registry.calibration.fit_decision_rule import fit_rule
from kmcl_platform.registry.model.error_detection import binary_entropy
from kmcl_platform.training.build import build_dataset
from kmcl_platform.training.device import small_floats_are_zero
from kmcl_platform.training.evaluate import SplitScorer, evaluate_scores
from kmcl_platform.training.session import TrainingSession
from kmcl_platform.training.workers.distributed import Workers

Keep = Callable[[dict[str, Any]], None]


def run_cell(arm: str, base: TrialConfig, known: list[dict[str, Any]], keep: Keep, *, trials: int, work: Path) -> None:
    """Do what is missing of a cell.

    Args:
        arm: one of `ARMS`.
        base: the recipe on the data of the cell.
        known: results of earlier calls.
        keep: called with each new result.
        trials: of the search.
        work: a folder for features.
    """
    values, ranges = ARMS[arm]
    base = base.with_values(values)
    manifest = open_condition(base.data)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=4))
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        path: _distribution(one) for path, one in ranges.items()
    }
    for one in known:
        if "val" in one and "seed" not in one:
            study.add_trial(
                optuna.trial.create_trial(params=one["values"], distributions=distributions, value=one["val"])
            )
    if not study.trials:
        # The recipe itself is the first trial of every arm.
        study.enqueue_trial({path: base.value(path) for path in ranges})
    while sum(trial.state.is_finished() for trial in study.trials) < trials:
        trial = study.ask(distributions)
        started = time.monotonic()
        try:
            session = train(base.with_values(trial.params), manifest, work)
            value = session.validate(base.num_epochs)["val/mAP"]
        except Diverged:
            value = 0.0
        study.tell(trial, value)
        keep({"arm": arm, "values": trial.params, "val": value, "seconds": time.monotonic() - started})
    best: Values = dict(study.best_params)
    for seed in SEEDS:
        if not any(one.get("seed") == seed for one in known):
            found = score(base.with_values(best | {"seed": seed}), manifest, work)
            keep({"arm": arm, "seed": seed, **found})


@small_floats_are_zero()
def train(config: TrialConfig, manifest: Manifest, work: Path) -> TrainingSession:
    """Train to the last epoch, without checkpoints."""
    workers = Workers(0, 1, torch.device("cpu"))
    session = TrainingSession(config, manifest, workers, features=work / "features")
    for epoch in range(1, config.num_epochs + 1):
        session.train_epoch(epoch)
    return session


def score(config: TrialConfig, manifest: Manifest, work: Path) -> dict[str, Any]:
    """Train, then score the test split: mAP, CF1 of the thresholds that validation chose, and what finds mistakes."""
    session = train(config, manifest, work)
    workers = session.workers
    found: dict[str, Any] = {"val": session.validate(config.num_epochs)["val/mAP"]}
    assert session.scores is not None
    rule = fit_rule(session.scores.scores_NK, session.scores.targets_NK, Decision()).rule
    test_set = _test_set(config, manifest)
    scores_NK, targets_NK = SplitScorer(test_set, batch_size=512, workers=workers).score(session.average)
    metrics = evaluate_scores(scores_NK, targets_NK)
    calibrated_NK = rule.calibrate(scores_NK.numpy())
    decided_NK = rule.decide(calibrated_NK)
    decided = evaluate_scores(torch.from_numpy(decided_NK.astype(np.float32)), targets_NK)
    found |= {"mAP": metrics["mAP"], "CF1": decided["CF1"], "OF1": decided["OF1"]}
    if config.loss.has_kernel_terms:
        wrong_NK = decided_NK != (targets_NK.numpy() == 1)
        uncertainty_NK = _uncertainty(session.average, test_set)
        found |= {
            "area, kernels": roc_auc_score(wrong_NK.ravel(), uncertainty_NK.ravel()),
            "area, entropy": roc_auc_score(wrong_NK.ravel(), binary_entropy(calibrated_NK).ravel()),
        }
    return found


def _distribution(one: Range) -> optuna.distributions.FloatDistribution:
    low, high, log = one
    return optuna.distributions.FloatDistribution(low, high, log=log)


def _test_set(config: TrialConfig, manifest: Manifest) -> SplitDataset:
    if config.data.features is None:
        return build_dataset(config, manifest, "test")
    rows_N = rows_of_split(manifest, "test")
    features_ND = read_own_features(config.data.features, manifest)
    return FeatureDataset(features_ND[rows_N][None], np.arange(len(rows_N)), manifest.targets("test"))


@torch.no_grad()
def _uncertainty(model: torch.nn.Module, test_set: SplitDataset) -> np.ndarray:
    parts = []
    for start in range(0, len(test_set), 512):
        inputs, _ = test_set.__getitems__(list(range(start, min(start + 512, len(test_set)))))
        parts.append(label_uncertainty(model(inputs).mixture))
    uncertainty_NK: np.ndarray = torch.cat(parts).numpy()
    return uncertainty_NK
