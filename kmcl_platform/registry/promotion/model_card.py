"""The model card: the description of a registered version, with its data, its metrics, its gates and how to use it."""

from collections.abc import Mapping, Sequence

import numpy as np

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.manifest import SPLITS, Manifest
from kmcl_platform.plugins.metric import plugin_metrics
from kmcl_platform.registry.calibration.fit_decision_rule import FittedRule
from kmcl_platform.registry.model.decision_rule import NEVER
from kmcl_platform.registry.model.error_detection import DetectionArea, ErrorDetection
from kmcl_platform.registry.promotion.gates import GateResult

_SHOWN = ("mAP", "CF1", "OF1", "macro_AUROC")
_CLASSES_SHOWN = 30


def write_card(
    *,
    search: str,
    members: Sequence[tuple[int, TrialConfig]],
    manifest: Manifest,
    metrics: Mapping[str, float],
    gates: Sequence[GateResult],
    fitted: FittedRule,
    error_detection: ErrorDetection,
    forced: str,
    git_commit: str,
) -> str:
    """The card in Markdown; MLflow shows it as the version's description.

    Args:
        search: name of the search and of the model.
        members: number and configuration of the trial, or of each trial of an ensemble.
        manifest: its data.
        metrics: `val/NAME` and `test/NAME`.
        gates: the results of the gates.
        fitted: the decision rule.
        error_detection: what was measured on validation about finding wrong decisions.
        forced: the reason for the promotion if gates failed. Empty: all gates passed.
        git_commit: of the code that searched. Empty: unknown.
    """
    names = manifest.class_names
    config = members[0][1]
    digest = manifest.content_hash[:12]
    images = ", ".join(f"{manifest.split(split).num_rows:,} {split}" for split in SPLITS)
    rows = [
        f"| {name} | {_shown(metrics.get(f'val/{name}'))} | {_shown(metrics.get(f'test/{name}'))} |"
        for name in (*_SHOWN, *plugin_metrics(config.plugins))
        if f"val/{name}" in metrics or f"test/{name}" in metrics
    ]
    kind = "classifier of features" if config.data.features is not None else "image classifier"
    lines = [
        f"Multilabel {kind}: {_named(members)} of search `{search}`.",
        "",
        *(
            f"- **{'Model' if len(members) == 1 else f'Trial {number}'}**: {_describe_input(one)}, head "
            f"`{one.model.head}`, objective `{one.loss.objective}`, {one.num_epochs} epochs; averaged weights of the "
            "last one."
            for number, one in members
        ),
        f"- **Data**: {manifest.name}, version {manifest.version} ({images}; content hash {digest}).",
        f"- **Classes** ({len(names)}): {_listed(names)}.",
        f"- **Decisions**: {_describe_rule(fitted, names)}",
        f"- **Calibration**: temperature {fitted.rule.temperature:.3g}, shift {fitted.rule.shift:.3g}; expected "
        f"calibration error on validation {_shown(fitted.error_before)} before, {_shown(fitted.error_after)} after.",
        f"- **Finding wrong decisions**: {_describe_detection(error_detection)}",
        f"- **Code**: commit {git_commit[:12] or 'unknown'}.",
        "",
        "| metric | validation | test |",
        "|---|---|---|",
        *rows,
        "",
        "| gate | result | measured |",
        "|---|---|---|",
        *(f"| {gate.gate} | {'passed' if gate.passed else 'FAILED'} | {gate.text} |" for gate in gates),
        "",
    ]
    if forced:
        lines += [f"**Promoted by force**: {forced}", ""]
    lines += [
        f"{'This trial was' if len(members) == 1 else 'These trials were'} chosen by validation metrics, so these are "
        "somewhat too good. The test split was opened only for promotions. A score is the probability of one label, "
        "independent of the other labels. Thresholds and calibration were fitted on validation. CF1 and OF1 use a "
        "threshold of 0.5 before calibration.",
        "",
        "Use: `mlflow models predict` of MLflow, with a column `features`."
        if config.data.features is not None
        else f"Use: `kmcl predict models:/{search}@champion IMAGE`, or `mlflow models predict` of MLflow.",
    ]
    return "\n".join(lines)


def _named(members: Sequence[tuple[int, TrialConfig]]) -> str:
    if len(members) == 1:
        return f"trial {members[0][0]}"
    return f"an ensemble, the mean of the logits of trials {', '.join(str(number) for number, _ in members)},"


def _describe_input(config: TrialConfig) -> str:
    if config.data.features is not None:
        return f"takes features (embeddings) like those of `{config.data.features}`, and no images"
    frozen = ", frozen" if config.model.backbone_mode == "frozen" else ""
    return f"`{config.model.backbone}`{frozen} at {config.data.image_size} pixels"


def _describe_rule(fitted: FittedRule, names: Sequence[str]) -> str:
    """The objective of the thresholds, their range, and the classes that they never predict."""
    rule = fitted.rule
    objective = {
        "f1": "the best F1 of each class",
        "precision": f"the highest recall of each class whose precision is at least {rule.floor}",
        "recall": f"the fewest predictions of each class whose recall is at least {rule.floor}",
    }[rule.objective]
    low, middle, high = np.quantile(rule.thresholds, [0, 0.5, 1])
    text = f"thresholds for {objective} on validation, from {low:.3g} to {high:.3g}, median {middle:.3g}."
    if never := [name for name, threshold in zip(names, rule.thresholds, strict=True) if threshold >= NEVER]:
        text += f" Never predicted, because no threshold reached that: {_listed(never)}."
    return text


def _describe_detection(detection: ErrorDetection) -> str:
    """How well entropy and uncertainty find wrong decisions, and which of them predictions show."""
    text = (
        f"AUROC with {100 * detection.confidence:g} % interval, on {detection.decisions:,} validation decisions, "
        f"{detection.wrong:,} of them wrong (0.5 is chance): entropy of the score {_shown_area(detection.entropy)}"
    )
    if detection.uncertainty is None:
        return f"{text}. Predictions show the entropy, in bits, from 0 to 1."
    shown = (
        "Predictions show both, since the whole interval of the uncertainty is above 0.5"
        if detection.shows_uncertainty
        else "Predictions show the entropy only: the interval of the uncertainty is not above 0.5"
    )
    text += f", uncertainty of the kernels {_shown_area(detection.uncertainty)}"
    return f"{text}. {shown}. Entropies are in bits, from 0 to 1."


def _shown_area(area: DetectionArea | None) -> str:
    return "undefined" if area is None else str(area).removeprefix("AUROC ")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _CLASSES_SHOWN} more" if len(names) > _CLASSES_SHOWN else ""
    return ", ".join(names[:_CLASSES_SHOWN]) + more


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
