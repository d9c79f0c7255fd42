"""The description of a registered version: what the model is, what it was held against, how to use it."""

from collections.abc import Mapping, Sequence

import numpy as np

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.manifest import SPLITS, Manifest
from kmcl_platform.registry.calibration.fit_decision_rule import FittedRule
from kmcl_platform.registry.model.decision_rule import NEVER
from kmcl_platform.registry.promotion.gates import GateResult

_SHOWN = ("mAP", "CF1", "OF1", "macro_AUROC")
_CLASSES_SHOWN = 30


def write_card(
    *,
    search: str,
    number: int,
    config: TrialConfig,
    manifest: Manifest,
    metrics: Mapping[str, float],
    gates: Sequence[GateResult],
    fitted: FittedRule,
    forced: str,
    git_commit: str,
) -> str:
    """The card in Markdown, which MLflow shows as the version's description.

    Args:
        search: name of the search and of the model.
        number: the trial's number.
        config: its configuration.
        manifest: its data.
        metrics: `val/NAME` and `test/NAME`.
        gates: what it was held against.
        fitted: its rule of decision.
        forced: the reason given where gates failed; empty where all passed.
        git_commit: of the code that searched; empty where there was none.
    """
    names = manifest.class_names
    digest = manifest.content_hash[:12]
    images = ", ".join(f"{manifest.split(split).num_rows:,} {split}" for split in SPLITS)
    rows = [
        f"| {name} | {_shown(metrics.get(f'val/{name}'))} | {_shown(metrics.get(f'test/{name}'))} |"
        for name in _SHOWN
        if f"val/{name}" in metrics or f"test/{name}" in metrics
    ]
    lines = [
        f"Multilabel image classifier: trial {number} of search `{search}`.",
        "",
        f"- **Model**: `{config.model.backbone}` at {config.data.image_size} pixels, objective "
        f"`{config.loss.objective}`, {config.num_epochs} epochs; averaged weights of the last one.",
        f"- **Data**: {manifest.name}, version {manifest.version} ({images}; content hash {digest}).",
        f"- **Classes** ({len(names)}): {_listed(names)}.",
        f"- **Decisions**: {_describe_rule(fitted, names)}",
        f"- **Calibration**: temperature {fitted.rule.temperature:.3g}, shift {fitted.rule.shift:.3g}; expected "
        f"calibration error on validation {_shown(fitted.error_before)} before, {_shown(fitted.error_after)} after.",
        f"- **Code**: commit {git_commit[:12] or 'unknown'}.",
        "",
        "| metric | validation | test |",
        "|---|---|---|",
        *rows,
        "",
        "| gate | verdict | measured |",
        "|---|---|---|",
        *(f"| {gate.gate} | {'passed' if gate.passed else 'FAILED'} | {gate.text} |" for gate in gates),
        "",
    ]
    if forced:
        lines += [f"**Promoted by force**: {forced}", ""]
    lines += [
        "The validation split chose this trial, so that its figures are somewhat too good; the test split was opened "
        "for promotions alone. Scores are probabilities of each label by itself; thresholds and calibration were "
        "chosen on validation, while CF1 and OF1 are of a threshold of 0.5 before calibration.",
        "",
        f"Use: `kmcl predict models:/{search}@champion IMAGE`, or MLflow's own `mlflow models predict`.",
    ]
    return "\n".join(lines)


def _describe_rule(fitted: FittedRule, names: Sequence[str]) -> str:
    """What the thresholds were chosen for, where they lie, and which classes they never predict."""
    rule = fitted.rule
    objective = {
        "f1": "the best F1 of each class",
        "precision": f"the highest recall of each class whose precision is at least {rule.floor}",
        "recall": f"the fewest predictions of each class whose recall is at least {rule.floor}",
    }[rule.objective]
    low, middle, high = np.quantile(rule.thresholds, [0, 0.5, 1])
    text = f"thresholds for {objective} on validation, from {low:.3g} to {high:.3g}, median {middle:.3g}."
    if never := [name for name, threshold in zip(names, rule.thresholds, strict=True) if threshold >= NEVER]:
        text += f" Never predicted, since no threshold reached that: {_listed(never)}."
    return text


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _CLASSES_SHOWN} more" if len(names) > _CLASSES_SHOWN else ""
    return ", ".join(names[:_CLASSES_SHOWN]) + more


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
