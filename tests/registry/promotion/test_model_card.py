"""The card describes how the model decides, and what finds its wrong decisions."""

from pathlib import Path

import pytest

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.registry.calibration.fit_decision_rule import FittedRule
from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.model.error_detection import DetectionArea, ErrorDetection
from kmcl_platform.registry.promotion.model_card import write_card

ENTROPY = DetectionArea(0.7171, 0.7, 0.73)
DETECTION = ErrorDetection(97, 970, 123, 0.95, ENTROPY, None)


def card(
    manifest: Path,
    rule: DecisionRule,
    before: float | None = 0.12345,
    after: float | None = 0.0123,
    detection: ErrorDetection = DETECTION,
) -> str:
    return write_card(
        search="s", members=[(3, TrialConfig())], manifest=read_manifest(manifest), metrics={"val/mAP": 0.5}, gates=[],
        fitted=FittedRule(rule, before, after), error_detection=detection, forced="", git_commit="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            DecisionRule(1.234, (0.2,) * 4 + (0.3, 0.4) * 3, "f1"),
            "thresholds for the best F1 of each class on validation, from 0.2 to 0.4, median 0.3.",
        ),
        (
            DecisionRule(1.234, (0.2,) * 8 + (1.0, 1.0), "precision", 0.95),
            "thresholds for the highest recall of each class whose precision is at least 0.95 on validation, from 0.2 "
            "to 1, median 0.2. Never predicted, because no threshold reached that: 8, 9.",
        ),
        (
            DecisionRule(1.234, (0.25,) * 10, "recall", 0.8),
            "thresholds for the fewest predictions of each class whose recall is at least 0.8 on validation",
        ),
    ],
)
def test_a_card_has_the_objective_of_the_thresholds(rule: DecisionRule, words: str, small_manifest: Path) -> None:
    text = card(small_manifest, rule)
    assert f"- **Decisions**: {words}" in text
    assert (
        "- **Calibration**: temperature 1.23, shift 0; expected calibration error on validation 0.1235 before, 0.0123 after."
        in text
    )


def test_an_unknown_error_is_shown_as_a_dash(small_manifest: Path) -> None:
    text = card(small_manifest, DecisionRule(1.0, (0.5,) * 10, "f1"), None, None)
    assert "expected calibration error on validation - before, - after." in text


@pytest.mark.parametrize(
    ("uncertainty", "words"),
    [
        (None, "entropy of the score 0.717 [0.700, 0.730]. Predictions show the entropy, in bits, from 0 to 1."),
        (
            DetectionArea(0.4369, 0.42, 0.45),
            "uncertainty of the kernels 0.437 [0.420, 0.450]. Predictions show the entropy only: the interval of the "
            "uncertainty is not above 0.5. Entropies are in bits, from 0 to 1.",
        ),
        (
            DetectionArea(0.6, 0.51, 0.7),
            "uncertainty of the kernels 0.600 [0.510, 0.700]. Predictions show both, since the whole interval of the "
            "uncertainty is above 0.5. Entropies are in bits, from 0 to 1.",
        ),
    ],
)
def test_a_card_has_the_measurement_of_wrong_decisions(
    uncertainty: DetectionArea | None, words: str, small_manifest: Path
) -> None:
    detection = ErrorDetection(97, 970, 123, 0.95, ENTROPY, uncertainty)
    text = card(small_manifest, DecisionRule(1.0, (0.5,) * 10, "f1"), detection=detection)
    beginning = "AUROC with 95 % interval, on 970 validation decisions, 123 of them wrong (0.5 is chance): entropy of "
    assert f"- **Finding wrong decisions**: {beginning}" in text
    assert words in text
