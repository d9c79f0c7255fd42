"""The effect on the test split of calibration and thresholds that were fitted on validation.

    python -m benchmarks.decisions STORE MODEL_URI

Scores validation and test with a registered model, fits every kind of calibration on validation, and prints for each
the expected calibration error on test and the macro F1 of its thresholds.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score

from kmcl_platform.config.after_search import Decision
from kmcl_platform.config.store import open_store
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.data.scores_file import SplitScores
from kmcl_platform.registry.calibration.error import expected_calibration_error
from kmcl_platform.registry.calibration.fit_decision_rule import fit_rule
from kmcl_platform.registry.model.decision_rule import DecisionRule, default_rule
from kmcl_platform.registry.model.load import load_registered
from kmcl_platform.registry.promotion.split_scores import score_images


def macro_f1(rule: DecisionRule, scores: SplitScores) -> float:
    """Mean over the classes of the F1 of known labels."""
    decided_NK = rule.decide(rule.calibrate(scores.scores_NK))
    # -1 stands for an unknown label.
    known_NK = scores.targets_NK >= 0
    values = [
        f1_score(scores.targets_NK[known_NK[:, k], k] == 1, decided_NK[known_NK[:, k], k], zero_division=0)
        for k in range(scores.scores_NK.shape[1])
    ]
    return float(np.mean(values))


def main(folder: str, uri: str) -> None:
    """Print a table."""
    store = open_store(Path(folder))
    predictor = load_registered(store, uri).predictor
    manifest = open_manifest(predictor.config.data.source, store.data)
    val, test = (score_images(predictor, manifest, split) for split in ("val", "test"))
    rules = {"0.5 of raw scores": default_rule(len(manifest.class_names))}
    for calibration in ("none", "temperature", "shifted"):
        decision = Decision(calibration=calibration)
        rules[f"calibration: {calibration}"] = fit_rule(val.scores_NK, val.targets_NK, decision).rule
    print(f"{uri} on {len(test.scores_NK)} test images\n")
    print(f"{'rule':<26}{'calibration error':>18}{'macro F1':>10}")
    for name, rule in rules.items():
        error = expected_calibration_error(rule.calibrate(test.scores_NK), test.targets_NK)
        print(f"{name:<26}{error:>18.3f}{macro_f1(rule, test):>10.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
