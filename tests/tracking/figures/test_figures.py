"""Measures of classes, and mistakes, from a trial's scores."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, precision_score, recall_score

from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.manifest import build_manifest
from kmcl_platform.data.scores_file import SplitScores
from kmcl_platform.method import metrics
from kmcl_platform.method.metrics import average_precision_per_class
from kmcl_platform.registry.model.decision_rule import DEFAULT_THRESHOLD
from kmcl_platform.tracking.figures import classes
from kmcl_platform.tracking.figures.classes import class_table, measure_classes
from kmcl_platform.tracking.figures.curves import draw_classes, draw_cooccurrence, draw_precision_recall
from kmcl_platform.tracking.figures.mistakes import Mistake, draw_mistakes, find_mistakes

NAMES = ("cat", "dog", "owl", "none")


def random_scores(seed: int, num_images: int = 60, num_classes: int = 4) -> SplitScores:
    rng = np.random.default_rng(seed)
    targets = rng.integers(-1, 2, (num_images, num_classes)).astype(np.int8)
    targets[:, -1] = np.minimum(targets[:, -1], 0)  # a class that no image has
    return SplitScores(rng.random((num_images, num_classes), dtype=np.float32), targets)


def test_a_class_is_measured_on_its_known_labels() -> None:
    own, baseline = random_scores(0), SplitScores(random_scores(1).scores_NK, random_scores(0).targets_NK)
    results = measure_classes(own, baseline)
    platform_precisions = average_precision_per_class(torch.from_numpy(own.scores_NK), torch.from_numpy(own.targets_NK))
    for k in range(3):
        known = own.targets_NK[:, k] >= 0
        true, scores = own.targets_NK[known, k], own.scores_NK[known, k]
        one = results[k]
        assert (one.positives, one.known) == (int(true.sum()), int(known.sum()))
        assert one.average_precision == pytest.approx(platform_precisions[k].item())
        assert one.baseline == pytest.approx(average_precision_score(true, baseline.scores_NK[known, k]))
        assert one.precision == pytest.approx(precision_score(true, scores > 0.5))
        assert one.recall == pytest.approx(recall_score(true, scores > 0.5))
    assert (results[3].positives, results[3].average_precision, results[3].recall) == (0, None, None)
    table = json.loads(class_table(NAMES, results))
    assert [row[0] for row in table["data"]] == list(NAMES)
    gained = table["columns"].index("AP gained")
    assert table["data"][0][gained] == pytest.approx(results[0].average_precision - results[0].baseline)
    assert table["data"][3][gained] is None


def test_all_parts_have_the_same_default_threshold() -> None:
    assert classes.THRESHOLD == metrics.THRESHOLD == DEFAULT_THRESHOLD


def test_an_image_that_cannot_be_read_is_replaced_by_its_error(tmp_path: Path) -> None:
    manifest = build_manifest(
        name="gone", version="", class_names=["a"], splits=["val"], images=[str(tmp_path / "gone.png")],
        targets=np.array([[0]]),
    )  # fmt: skip
    (axes, *_) = draw_mistakes(manifest, [Mistake(0, 0, 0.9, False)], ["a"], "trial 1").axes
    assert [text.get_text() for text in axes.texts] == ["DataError"]


def test_scores_of_other_images_are_not_used_as_a_baseline() -> None:
    assert measure_classes(random_scores(0), random_scores(1, num_images=59))[0].baseline is None


def test_the_worst_label_of_each_image_counts_and_unknown_ones_do_not() -> None:
    scores = np.array([[0.9, 0.99, 0.2], [0.99, 0.1, 0.4], [0.4, 0.2, 0.1], [0.6, 0.45, 0.3]], dtype=np.float32)
    targets = np.array([[0, -1, 0], [1, 1, 1], [0, 0, 0], [0, 1, 0]], dtype=np.int8)
    found = find_mistakes(SplitScores(scores, targets))
    assert [(one.row, one.class_index, one.positive) for one in found] == [
        (0, 0, False), (1, 1, True), (3, 0, False),
    ]  # fmt: skip
    assert [one.score for one in found] == pytest.approx([0.9, 0.1, 0.6])


@pytest.mark.parametrize("num_classes", [1, 4, 80])
def test_pictures_are_drawn_for_few_and_for_many_classes(num_classes: int) -> None:
    own = random_scores(0, num_classes=num_classes)
    names = [f"class {k}" for k in range(num_classes)]
    results = measure_classes(own, None)
    for figure in (
        draw_precision_recall(own, names, results, "trial 1"),
        draw_classes(names, results, "trial 1"),
        draw_cooccurrence(own, names, "trial 1"),
    ):
        figure.canvas.draw()


def test_each_mistake_is_shown_with_its_image() -> None:
    manifest = build_digits(num_train=4, num_val=6, num_test=4)
    mistakes = [Mistake(5, 3, 0.98, False), Mistake(0, 1, 0.02, True)]
    figure = draw_mistakes(manifest, mistakes, manifest.class_names, "trial 1")
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == [
        "3: score 0.980,\nnot labelled (val 5)", "1: score 0.020,\nlabelled (val 0)",
    ]  # fmt: skip
    first, second = (axes.images[0].get_array() for axes in shown)
    assert first.shape == second.shape and not np.array_equal(first, second)
    assert "no label on the wrong side" in draw_mistakes(manifest, [], manifest.class_names, "trial 1").get_suptitle()
