"""The card says how the model decides."""

from pathlib import Path

import pytest

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.registry.calibration.fit_decision_rule import FittedRule
from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.promotion.model_card import write_card


def card(manifest: Path, rule: DecisionRule, before: float | None = 0.12345, after: float | None = 0.0123) -> str:
    return write_card(
        search="s", number=3, config=TrialConfig(), manifest=read_manifest(manifest), metrics={"val/mAP": 0.5}, gates=[],
        fitted=FittedRule(rule, before, after), forced="", git_commit="",
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
            "to 1, median 0.2. Never predicted, since no threshold reached that: 8, 9.",
        ),
        (
            DecisionRule(1.234, (0.25,) * 10, "recall", 0.8),
            "thresholds for the fewest predictions of each class whose recall is at least 0.8 on validation",
        ),
    ],
)
def test_it_says_what_thresholds_are_for(rule: DecisionRule, words: str, small_manifest: Path) -> None:
    text = card(small_manifest, rule)
    assert f"- **Decisions**: {words}" in text
    assert (
        "- **Calibration**: temperature 1.23, shift 0; expected calibration error on validation 0.1235 before, 0.0123 after."
        in text
    )


def test_what_is_not_known_is_said_so(small_manifest: Path) -> None:
    text = card(small_manifest, DecisionRule(1.0, (0.5,) * 10, "f1"), None, None)
    assert "expected calibration error on validation - before, - after." in text
