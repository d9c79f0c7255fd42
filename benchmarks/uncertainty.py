"""Does the variance of KMCL's kernels know which decisions are wrong? On the embedded digits, test split.

    python -m benchmarks.uncertainty    # five seeds, one thread of the CPU; prints each seed's figures and the table

A decision about a label is wrong where (score > 0.5) differs from the target. Three rankings of decisions, the most
doubtful first, are held against that by the area under the ROC curve (0.5: no better than chance):
(a) the kernels' uncertainty 1 - 1/v̄, (b) the binary entropy of the score, (c) the mean of the two ranks.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.files.yaml_document import read_yaml
from kmcl_platform.method.metrics import evaluate_scores
from kmcl_platform.registry.model.predictor import Prediction, read_predictor, write_model
from kmcl_platform.training.checkpoints.checkpoint_folder import AVERAGE, find_checkpoint
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
LEVELS = {
    "label": "all (image, label) decisions",
    "within": "decisions about one label, mean over labels",
    "image": "images with any wrong label, by their most doubtful label",
}
RANKINGS = {"a": "(a) kernel uncertainty", "b": "(b) entropy of the score", "c": "(c) mean of both ranks"}
FACTS = {
    "mAP": "test mAP",
    "wrong": "share of decisions that are wrong",
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


def train(config: TrialConfig, manifest: Manifest) -> Prediction:
    """What a trained model says of the test images."""
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints, folder = Path(scratch) / "checkpoints", Path(scratch) / "model"
        fit(config, manifest, checkpoints=checkpoints, report=lambda _: True, workers=Workers(0, 1, CPU))
        checkpoint = find_checkpoint(checkpoints)
        assert checkpoint is not None
        write_model(folder, checkpoint / AVERAGE, config, manifest.class_names)
        return read_predictor(folder, CPU).predict(manifest.split("test")["bytes"].to_pylist())


def measure(prediction: Prediction, targets_NK: np.ndarray) -> dict[str, float]:
    """Areas under the ROC curve under `LEVEL/RANKING`, and what describes the model, as in FACTS."""
    scores_NK, uncertainty_NK = prediction
    assert uncertainty_NK is not None
    wrong_NK = (scores_NK > 0.5) != (targets_NK == 1)
    entropy_NK = binary_entropy(scores_NK.astype(np.float64))
    by_label = [
        detect(wrong_NK[:, k], uncertainty_NK[:, k], entropy_NK[:, k])
        for k in range(wrong_NK.shape[1])
        if 0 < wrong_NK[:, k].mean() < 1
    ]
    found = {
        "label": detect(wrong_NK.ravel(), uncertainty_NK.ravel(), entropy_NK.ravel()),
        "within": {ranking: float(np.mean([areas[ranking] for areas in by_label])) for ranking in RANKINGS},
        "image": detect(wrong_NK.any(1), uncertainty_NK.max(1), entropy_NK.max(1)),
    }
    control = detect(wrong_NK.ravel(), scores_NK.ravel(), entropy_NK.ravel())
    facts = {
        "mAP": evaluate_scores(torch.from_numpy(scores_NK), torch.tensor(targets_NK))["mAP"],
        "wrong": float(wrong_NK.mean()),
        "false positive": float((targets_NK[wrong_NK] == 0).mean()),
        "wrong images": float(wrong_NK.any(1).mean()),
        "low": float(np.quantile(uncertainty_NK, 0.05)),
        "high": float(np.quantile(uncertainty_NK, 0.95)),
        "a, entropy": float(stats.spearmanr(uncertainty_NK.ravel(), entropy_NK.ravel()).statistic),
        "a, score": float(stats.spearmanr(uncertainty_NK.ravel(), scores_NK.ravel()).statistic),
        "a, labels": float(stats.spearmanr(uncertainty_NK.mean(1), targets_NK.sum(1)).statistic),
        "between": float(uncertainty_NK.mean(1).var() / uncertainty_NK.var()),
        # Where most errors are false positives, whatever rises with the score finds them.
        "control, score": control["a"],
        "control, both": control["c"],
    }
    return facts | {f"{level}/{ranking}": area for level, areas in found.items() for ranking, area in areas.items()}


def detect(wrong: np.ndarray, uncertainty: np.ndarray, entropy: np.ndarray) -> dict[str, float]:
    """Area under the ROC curve of each ranking."""
    both = stats.rankdata(uncertainty) + stats.rankdata(entropy)
    values = {"a": uncertainty, "b": entropy, "c": both}
    return {ranking: float(roc_auc_score(wrong, value)) for ranking, value in values.items()}


def binary_entropy(p: np.ndarray) -> np.ndarray:
    p = p.clip(1e-12, 1 - 1e-12)
    return -(p * np.log(p) + (1 - p) * np.log1p(-p))


def interval(values: np.ndarray) -> str:
    """Mean and half the width of its 95 % t-interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{values.mean():.3f} ± {half:.3f}"


def table(results: list[dict[str, float]]) -> list[str]:
    seeds = {name: np.array([result[name] for result in results]) for name in results[0]}
    lines = [f"| detecting wrong | {' | '.join(RANKINGS.values())} | (a) - (b) | (c) - (b) |", "|" + " --- |" * 6]
    for level, name in LEVELS.items():
        a, b, c = (seeds[f"{level}/{ranking}"] for ranking in RANKINGS)
        lines.append(f"| {name} | {' | '.join(map(interval, (a, b, c, a - b, c - b)))} |")
    return [*lines, "", *(f"- {text}: {interval(seeds[name])}" for name, text in FACTS.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="change the trials so")
    parser.add_argument("--train-images", type=int, default=4000)
    arguments = parser.parse_args()
    changes = {path: read_yaml(value.encode(), path) for path, value in (text.split("=") for text in arguments.set)}
    torch.set_num_threads(1)
    manifest = build_digits(num_train=arguments.train_images)
    results = []
    for seed in range(arguments.seeds):
        began = time.monotonic()
        config = CONFIG.with_values({"seed": seed, "num_epochs": arguments.epochs, **changes})
        results.append(measure(train(config, manifest), manifest.targets("test")))
        shown = ", ".join(f"{name} {value:.3f}" for name, value in results[-1].items())
        print(f"seed {seed} ({time.monotonic() - began:.0f} s): {shown}", flush=True)
    print("", *table(results), sep="\n")


if __name__ == "__main__":
    main()
