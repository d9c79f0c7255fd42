"""Metrics against scikit-learn and against plain counting."""

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score
from torch import Tensor

from kmcl_platform.config.reports.epoch_report import objective_names
from kmcl_platform.method.metrics import area_under_roc_per_class, average_precision_per_class
from kmcl_platform.training.evaluate import evaluate_scores


def random_scores(
    seed: int, *, ties: bool, unknown: float = 0.0, shape: tuple[int, int] = (60, 7)
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(shape, generator=generator, dtype=torch.float64)
    scores = (scores * 5).round() / 5 if ties else scores
    targets = (torch.rand(shape, generator=generator) < 0.3).long()
    targets[torch.rand(shape, generator=generator) < unknown] = -1
    return scores, targets


PER_CLASS = [(average_precision_per_class, average_precision_score), (area_under_roc_per_class, roc_auc_score)]


@pytest.mark.parametrize("unknown", [0.0, 0.4])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("ours", "theirs"), PER_CLASS)
def test_per_class_metrics_equal_scikit_learn_on_the_known_labels(
    ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[..., float], ties: bool, unknown: float
) -> None:
    for seed in range(5):
        scores, targets = random_scores(seed, ties=ties, unknown=unknown)
        values = ours(scores, targets)
        for k in range(scores.shape[1]):
            known = targets[:, k] >= 0
            expected = theirs(targets[known, k].numpy(), scores[known, k].numpy())
            assert float(values[k]) == pytest.approx(expected, abs=1e-12)


def test_undefined_classes_are_nan_and_left_out_of_the_means() -> None:
    scores, targets = random_scores(0, ties=False)
    targets[:, 0] = 0
    targets[:, 1] = 1
    targets[:, 2] = -1
    precision, area = average_precision_per_class(scores, targets), area_under_roc_per_class(scores, targets)
    assert precision.isnan().tolist() == [True, False, True] + [False] * 4
    assert area.isnan().tolist() == [True, True, True] + [False] * 4
    assert float(precision[1]) == 1.0
    metrics = evaluate_scores(scores, targets)
    assert metrics["mAP"] == pytest.approx(precision[~precision.isnan()].mean().item())
    assert metrics["macro_AUROC"] == pytest.approx(area[~area.isnan()].mean().item())


def test_thresholded_metrics_equal_scikit_learn() -> None:
    scores, targets = random_scores(1, ties=False)
    metrics = evaluate_scores(scores, targets)
    y, predicted = targets.numpy(), (scores > 0.5).numpy().astype(int)
    for short, average in (("C", "macro"), ("O", "micro")):
        assert metrics[f"{short}P"] == pytest.approx(precision_score(y, predicted, average=average, zero_division=0))
        assert metrics[f"{short}R"] == pytest.approx(recall_score(y, predicted, average=average, zero_division=0))
    assert metrics["OF1"] == pytest.approx(f1_score(y, predicted, average="micro"))
    assert metrics["CF1"] == pytest.approx(2 * metrics["CP"] * metrics["CR"] / (metrics["CP"] + metrics["CR"]))


def oracle_counts(scores: Tensor, targets: Tensor, top: int | None) -> dict[str, float]:
    num_samples, num_classes = targets.shape
    hits, predictions, positives = (np.zeros(num_classes) for _ in range(3))
    for n in range(num_samples):
        known = [k for k in range(num_classes) if targets[n, k] >= 0]
        ranked = sorted(known, key=lambda k, n=n: -float(scores[n, k]))  # type: ignore[misc]
        predicted = ranked[:top] if top else [k for k in known if scores[n, k] > 0.5]
        for k in known:
            hits[k] += k in predicted and targets[n, k] == 1
            predictions[k] += k in predicted
            positives[k] += int(targets[n, k] == 1)
    seen = [k for k in range(num_classes) if bool((targets[:, k] >= 0).any())]
    precision = np.mean([hits[k] / predictions[k] if predictions[k] else 0.0 for k in seen])
    recall = np.mean([hits[k] / positives[k] for k in seen if positives[k]])
    return {
        "CP": float(precision),
        "CR": float(recall),
        "OP": hits.sum() / predictions.sum(),
        "OR": hits.sum() / positives.sum(),
    }


@pytest.mark.parametrize("unknown", [0.0, 0.6])
def test_counts_equal_plain_counting(unknown: float) -> None:
    scores, targets = random_scores(2, ties=False, unknown=unknown)
    scores[:, 0] *= 0.01  # never predicted: precision 0
    targets[:, 1] = -1  # never known: left out
    targets[:, 2] = targets[:, 2].clamp(max=0)  # never positive: left out of recall
    targets[:20] = -1  # samples without known labels
    metrics = evaluate_scores(scores, targets)
    for prefix, top in (("", None), ("top3/", 3)):
        expected = oracle_counts(scores, targets, top)
        assert {name: metrics[prefix + name] for name in expected} == pytest.approx(expected)


def test_scores_at_unknown_labels_do_not_matter() -> None:
    scores, targets = random_scores(3, ties=True, unknown=0.4)
    changed = torch.where(targets < 0, 1.0 - scores, scores)
    keep = (targets >= 0).any(1)
    assert evaluate_scores(scores, targets) == evaluate_scores(changed, targets)
    assert evaluate_scores(scores, targets) == pytest.approx(evaluate_scores(scores[keep], targets[keep]))


def test_the_names_are_those_of_the_epoch_report() -> None:
    metrics = evaluate_scores(*random_scores(4, ties=False))
    assert {f"val/{name}" for name in metrics} == {name for name in objective_names() if name.startswith("val/")}
    assert all(0 <= value <= 1 for value in metrics.values())


def test_perfect_scores_give_1() -> None:
    targets = torch.tensor([[1, 0], [0, 1], [1, 1]])
    metrics = evaluate_scores(targets.float(), targets)
    assert all(value == 1.0 for name, value in metrics.items() if not name.startswith("top3/"))
    assert metrics["top3/OP"] == pytest.approx(4 / 6)  # both classes of every sample are among its top 3


def test_a_score_at_the_threshold_is_not_predicted() -> None:
    metrics = evaluate_scores(torch.full((2, 4), 0.5), torch.ones(2, 4, dtype=torch.long))
    assert metrics["OR"] == metrics["CP"] == metrics["OF1"] == 0.0


def test_undefined_metrics_are_absent() -> None:
    scores = torch.rand(4, 5)
    no_positive = evaluate_scores(scores, torch.zeros(4, 5))
    assert set(no_positive) == {"CP", "OP", "top3/CP", "top3/OP"}
    assert evaluate_scores(scores, torch.full((4, 5), -1)) == {}
    assert evaluate_scores(scores[:0], torch.zeros(0, 5)) == {}


def test_bad_inputs_are_refused() -> None:
    scores, targets = torch.rand(4, 3), torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"got shapes \(4, 3\) and \(4, 2\)"):
        evaluate_scores(scores, targets[:, :2])
    broken = scores.clone()
    broken[1, 2] = math.nan
    with pytest.raises(ValueError, match="scores_NK: got 1 values that are not finite"):
        average_precision_per_class(broken, targets)
    with pytest.raises(ValueError, match="targets_NK: got the value 3.0"):
        area_under_roc_per_class(scores, targets + 3)
    with pytest.raises(ValueError, match=r"valid: probabilities in \[0, 1\]"):
        evaluate_scores(scores + 1, targets)


def test_a_large_validation_split_takes_seconds_at_most() -> None:
    scores, targets = random_scores(5, ties=False, shape=(10_000, 80))
    start = time.process_time()
    evaluate_scores(scores.float(), targets)
    # About 0.2 s on a quiet core; a loop over samples or thresholds takes minutes.
    assert time.process_time() - start < 10
