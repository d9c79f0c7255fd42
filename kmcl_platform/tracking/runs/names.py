"""Names of outcomes, tags, metrics and files in MLflow, except the metrics of an epoch."""

import re
from enum import StrEnum
from typing import TYPE_CHECKING

from kmcl_platform.config.reports.trial_columns import (
    EPOCH_SECONDS as EPOCH_SECONDS,
    EPOCHS as EPOCHS,
    OBJECTIVE as OBJECTIVE,
    WALL_SECONDS as WALL_SECONDS,
)
from kmcl_platform.errors import SearchError
from kmcl_platform.messages import show_value

if TYPE_CHECKING:
    from mlflow.entities import Run


class TrialOutcome(StrEnum):
    """Why a trial ended, as the tag `kmcl.outcome` of its run: MLflow has no status for a pruned run.

    Runs of older versions say `failed` for a trial that diverged; their reason begins with "diverged".
    """

    COMPLETED = "completed"
    PRUNED = "pruned"
    FAILED = "failed"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"


STATUS = {
    TrialOutcome.COMPLETED: "FINISHED",
    TrialOutcome.PRUNED: "FINISHED",
    TrialOutcome.FAILED: "FAILED",
    TrialOutcome.DIVERGED: "FAILED",
    TrialOutcome.INTERRUPTED: "KILLED",
}
"""The MLflow status of a run by its trial's outcome."""

RUNNING = "running"
"""The tag `kmcl.outcome` of a trial that has not ended."""

SEARCH_TAG = "kmcl.search"
ROLE_TAG = "kmcl.role"
"""`search` on the parent run, `trial` on its children."""
TRIAL_TAG = "kmcl.trial"
"""The trial's key, SEARCH-NUMBER, by which a continued search finds the run again."""
STORE_TAG = "kmcl.store"
"""On the experiment and all runs: the id of the store that they belong to. Older versions did not write it."""
PLACE_TAG = "kmcl.store_place"
"""On the experiment: folder and machine of that store, for messages."""
NUMBER_TAG = "kmcl.number"
BASELINE_TAG = "kmcl.baseline"
"""`true` on the base and on the other baselines of a search."""
BASELINE_NAME_TAG = "kmcl.baseline_name"
"""Only on baselines; older versions did not write it, and had the base only."""
SOURCE_TAG = "kmcl.warm_start"
"""Only on trials whose point comes from an earlier search: the search, the trial and its value there."""
DEVICE_TAG = "kmcl.device"
"""The models of the GPUs or CPUs that a trial was trained on, several if it has moved. Older versions had none."""
OUTCOME_TAG = "kmcl.outcome"
REASON_TAG = "kmcl.reason"

BEST_OBJECTIVE = "best_objective"
"""On the parent run, like `trials/OUTCOME`, `trials/running`, `hours` and `gpu_hours`: the search's progress. The step
is the number of ended trials."""

SEARCH_FILE = "search_file.yaml"
PLUGINS_TAG = "kmcl.plugins"
"""Tag of a search's run: the digest of each plug-in's code, as JSON."""
PLUGIN_CHANGES_TAG = "kmcl.plugin_changes"
"""Tag of a search's run: a line for each plug-in whose code was changed while the search went on."""
PLUGINS_FOLDER = "plugins"
"""Artifacts of a search's run: all code that its plug-ins have had."""


def plugin_file(name: str, digest: str) -> str:
    """The artifact of a search's run with the code of a plug-in."""
    return f"{PLUGINS_FOLDER}/{name}-{digest[:12]}.py"


LATEST_FILE_TAG = "kmcl.latest_file"
"""On the parent run of a search that was continued with another file: the artifact with that file."""
LEADERBOARD_FILE = "leaderboard.json"
FIGURES_FOLDER = "figures"
"""On a trial's run: its table of classes and its pictures. Runs of older versions have them in `evidence`."""
CLASS_TABLE_FILE = "figures/classes.json"
"""Average precision of every class, as MLflow's table."""
FORECAST_FILE = "forecast.json"
VERDICT_FILE = "verdict.json"
VERDICT_TAG = "kmcl.verdict"
"""On the run of each arm's search: the comparison of each arm with the first one, one on each line."""
BASELINE_VERDICT_TAG = "kmcl.baseline_verdict"
"""On a search's run: the best trial compared with the best baseline, both trained again on several new seeds."""

FRONT_TAG = "kmcl.front"
"""On a search's run with several objectives: the numbers of the trials that are trade-offs."""

FINALISTS_TAG = "kmcl.finalists"
"""On a search's run: its finalists with their means over new seeds, as JSON, the best first."""


def origin_tags(baseline: bool, name: str, source: str) -> dict[str, str]:
    """The tags that say whether a trial is a baseline, and which, or from which earlier search its point comes."""
    named = {BASELINE_NAME_TAG: name, SOURCE_TAG: source}
    return {BASELINE_TAG: str(baseline).lower()} | {tag: text for tag, text in named.items() if text}


def trial_run_name(number: int, baseline: bool, name: str) -> str:
    """The name of a trial's run, for readers of MLflow."""
    words = [f"trial-{number:04d}", *(["baseline"] if baseline else []), *([name] if name else [])]
    return "-".join(words)


def trial_number(run: "Run") -> int:
    """The number of a trial, from the tag of its run.

    Raises:
        SearchError: the tag was changed or removed.
    """
    text = run.data.tags.get(NUMBER_TAG, "")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise SearchError(
            f"run {run.info.run_id}: tag {NUMBER_TAG}: got {show_value(text)}; valid: the number of its trial, as "
            "`kmcl search` wrote it (it can be set again in MLflow)"
        )
    return int(text)
