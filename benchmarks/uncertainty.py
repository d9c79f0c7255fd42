"""Do entropy and the variance of KMCL's kernels find wrong decisions? On the embedded digits, test split.

    python -m benchmarks.uncertainty    # five seeds, one thread of the CPU; prints each seed's figures and the table

Decisions are made in two ways: by raw scores above 0.5, and by the product's rule (scores calibrated and thresholds
fitted on validation). A decision is wrong if it differs from the target. Four rankings of the decisions, the most
uncertain first, are compared by the area under the ROC curve (0.5: chance): (a) the kernels' uncertainty 1 - 1/v̄, (b)
the binary entropy of the raw score, (c) the mean of the ranks of (a) and (b), (d) the binary entropy of the calibrated
score, which is what `kmcl predict` shows.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from kmcl_platform.config.after_search import Decision
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.files.yaml_document import read_yaml
from kmcl_platform.registry.calibration.fit_decision_rule import fit_rule
from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.model.error_detection import binary_entropy
from kmcl_platform.registry.model.model_folder import read_predictor, write_model
from kmcl_platform.registry.model.predictor import Prediction
from kmcl_platform.training.checkpoints.checkpoint_folder import AVERAGE, find_checkpoint
from kmcl_platform.training.evaluate import evaluate_scores
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers.distributed import Workers

CPU = torch.device("cpu")
CONFIG = TrialConfig().with_values(
    {
        "data.image_size": 32,
        "data.batch_size": 64,
        "model.backbone": "test_resnet",
        "loss.temperature": 0.3,
        "loss.reconstruction_weight": 0.04,
        "loss.contrastive_weight": 0.03,
        "optim.optimizer": "adamw",
        "optim.lr": 1e-2,
        "optim.ema_decay": 0.99,
    }
)
DECIDED = {"raw": "raw score above 0.5", "rule": "the product's rule"}
LEVELS = {
    "label": "all (image, label) decisions",
    "within": "decisions about one label, mean over labels",
    "image": "images with any wrong label, by their most uncertain label",
}
RANKINGS = {
    "a": "(a) kernel uncertainty",
    "b": "(b) entropy of the raw score",
    "c": "(c) mean of the ranks of (a) and (b)",
    "d": "(d) entropy of the calibrated score",
}
FACTS = {
    "mAP": "test mAP",
    "wrong": "share of decisions that are wrong, raw score above 0.5",
    "wrong, rule": "share of decisions that are wrong, the product's rule",
    "false positive": "share of wrong decisions that are false positives",
    "wrong images": "share of images with a wrong label",
    "low": "uncertainty, 5th percentile",
    "high": "uncertainty, 95th percentile",
    "a, entropy": "rank correlation of uncertainty with entropy",
    "a, score": "rank correlation of uncertainty with score",
    "a, labels": "rank correlation of an image's mean uncertainty with its number of labels",
    "between": "share of the uncertainty's variance that lies between images, not between labels of an image",
    "control, score": "control: area, all decisions, of the score itself as a ranking",
    "control, both": "control: area, all decisions, of the mean of the ranks of score and entropy",
}


def train(config: TrialConfig, manifest: Manifest) -> tuple[Prediction, DecisionRule]:
    """Train a model; returns its prediction of the test images, and its rule, fitted on validation."""
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints, folder = Path(scratch) / "checkpoints", Path(scratch) / "model"
        fit(config, manifest, checkpoints=checkpoints, report=lambda _: True, workers=Workers(0, 1, CPU))
        checkpoint = find_checkpoint(checkpoints)
        assert checkpoint is not None
        write_model(folder, checkpoint / AVERAGE, config, manifest.class_names)
        predictor = read_predictor(folder, CPU)
        validation = predictor.predict(manifest.split("val")["bytes"].to_pylist())
        rule = fit_rule(validation.scores_NK, manifest.targets("val"), Decision()).rule
        return predictor.predict(manifest.split("test")["bytes"].to_pylist()), rule


def measure(prediction: Prediction, rule: DecisionRule, targets_NK: np.ndarray) -> dict[str, float]:
    """Areas under the ROC curve as `DECIDED/LEVEL/RANKING`, and the numbers of FACTS."""
    scores_NK, uncertainty_NK = prediction
    assert uncertainty_NK is not None
    entropy_NK, calibrated_NK = binary_entropy(scores_NK), rule.calibrate(scores_NK)
    values = {
        "a": uncertainty_NK,
        "b": entropy_NK,
        "c": mean_rank(uncertainty_NK, entropy_NK),
        "d": binary_entropy(calibrated_NK),
    }
    wrong = {
        "raw": (scores_NK > 0.5) != (targets_NK == 1),
        "rule": rule.decide(calibrated_NK) != (targets_NK == 1),
    }
    wrong_NK = wrong["raw"]
    facts = {
        "mAP": evaluate_scores(torch.from_numpy(scores_NK), torch.tensor(targets_NK))["mAP"],
        "wrong": float(wrong_NK.mean()),
        "wrong, rule": float(wrong["rule"].mean()),
        "false positive": float((targets_NK[wrong_NK] == 0).mean()),
        "wrong images": float(wrong_NK.any(1).mean()),
        "low": float(np.quantile(uncertainty_NK, 0.05)),
        "high": float(np.quantile(uncertainty_NK, 0.95)),
        "a, entropy": float(stats.spearmanr(uncertainty_NK.ravel(), entropy_NK.ravel()).statistic),
        "a, score": float(stats.spearmanr(uncertainty_NK.ravel(), scores_NK.ravel()).statistic),
        "a, labels": float(stats.spearmanr(uncertainty_NK.mean(1), targets_NK.sum(1)).statistic),
        # The variance of the images' means, as a share of the variance of all values.
        "between": float(uncertainty_NK.mean(1).var() / uncertainty_NK.var()),
        # If most errors are false positives, every quantity that rises with the score finds them.
        "control, score": float(roc_auc_score(wrong_NK.ravel(), scores_NK.ravel())),
        "control, both": float(roc_auc_score(wrong_NK.ravel(), mean_rank(scores_NK, entropy_NK).ravel())),
    }
    return facts | {
        f"{decided}/{level}/{ranking}": area
        for decided, wrong_NK in wrong.items()
        for ranking, values_NK in values.items()
        for level, area in detect(wrong_NK, values_NK).items()
    }


def detect(wrong_NK: np.ndarray, values_NK: np.ndarray) -> dict[str, float]:
    """Area under the ROC curve at each level."""
    # A class without any wrong decision, or without any right one, has no ROC curve.
    mixed = [k for k in range(wrong_NK.shape[1]) if 0 < wrong_NK[:, k].mean() < 1]
    return {
        "label": float(roc_auc_score(wrong_NK.ravel(), values_NK.ravel())),
        "within": float(np.mean([roc_auc_score(wrong_NK[:, k], values_NK[:, k]) for k in mixed])),
        "image": float(roc_auc_score(wrong_NK.any(1), values_NK.max(1))),
    }


def mean_rank(one_NK: np.ndarray, other_NK: np.ndarray) -> np.ndarray:
    # Ranks, because the two quantities have different scales.
    return (stats.rankdata(one_NK) + stats.rankdata(other_NK)).reshape(one_NK.shape)


def interval(values: np.ndarray) -> str:
    """Mean and half the width of its 95 % t-interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{values.mean():.3f} ± {half:.3f}"


def table(results: list[dict[str, float]]) -> list[str]:
    seeds = {name: np.array([result[name] for result in results]) for name in results[0]}
    lines = [f"| decisions | detecting wrong | {' | '.join(RANKINGS.values())} | (a) - (b) | (c) - (b) | (d) - (b) |"]
    lines += ["|" + " --- |" * (5 + len(RANKINGS))]
    for decided, how in DECIDED.items():
        for level, name in LEVELS.items():
            a, b, c, d = (seeds[f"{decided}/{level}/{ranking}"] for ranking in RANKINGS)
            lines.append(f"| {how} | {name} | {' | '.join(map(interval, (a, b, c, d, a - b, c - b, d - b)))} |")
    return [*lines, "", *(f"- {text}: {interval(seeds[name])}" for name, text in FACTS.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="at least 2")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="a value of the trials' configuration"
    )
    parser.add_argument("--train-images", type=int, default=4000)
    arguments = parser.parse_args()
    changes = {path: read_yaml(value.encode(), path) for path, value in (text.split("=") for text in arguments.set)}
    torch.set_num_threads(1)
    manifest = build_digits(num_train=arguments.train_images)
    results = []
    for seed in range(arguments.seeds):
        began = time.monotonic()
        config = CONFIG.with_values({"seed": seed, "num_epochs": arguments.epochs, **changes})
        results.append(measure(*train(config, manifest), manifest.targets("test")))
        shown = ", ".join(f"{name} {value:.3f}" for name, value in results[-1].items())
        print(f"seed {seed} ({time.monotonic() - began:.0f} s): {shown}", flush=True)
    print("", *table(results), sep="\n")


if __name__ == "__main__":
    main()
