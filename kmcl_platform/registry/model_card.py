"""The description of a registered version: what the model is, what it was held against, how to use it."""

from collections.abc import Mapping, Sequence

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest import SPLITS, Manifest
from kmcl_platform.registry.gates import GateResult

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
        forced: the reason given where gates failed; empty where all passed.
        git_commit: of the code that searched; empty where there was none.
    """
    names = manifest.class_names
    classes = ", ".join(names[:_CLASSES_SHOWN])
    if len(names) > _CLASSES_SHOWN:
        classes += f" and {len(names) - _CLASSES_SHOWN} more"
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
        f"- **Classes** ({len(names)}): {classes}.",
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
        "for promotions alone. Scores are probabilities of each label by itself.",
        "",
        f"Use: `kmcl predict models:/{search}@champion IMAGE`, or MLflow's own `mlflow models predict`.",
    ]
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
