"""What the platform writes into MLflow beside an epoch's metrics: outcomes of a trial, tags, metrics, files."""

from enum import StrEnum


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
"""The trial's key, SEARCH-NUMBER: by it a continued search finds the run again."""
NUMBER_TAG = "kmcl.number"
BASELINE_TAG = "kmcl.baseline"
OUTCOME_TAG = "kmcl.outcome"
REASON_TAG = "kmcl.reason"

EPOCHS = "epochs"
EPOCH_SECONDS = "epoch_seconds"
WALL_SECONDS = "wall_seconds"
OBJECTIVE = "objective"
BEST_OBJECTIVE = "best_objective"
"""On the parent run, like `trials/OUTCOME`, `trials/running`, `hours` and `gpu_hours`: how far the search has come; its
steps are the trials that have ended."""

SEARCH_FILE = "search_file.yaml"
LATEST_FILE_TAG = "kmcl.latest_file"
"""On the parent run, once the search went on with another file than it began with: the artifact that holds it."""
LEADERBOARD_FILE = "leaderboard.json"
FIGURES_FOLDER = "figures"
"""On a trial's run: its table of classes and its pictures. Runs of older versions have them in `evidence`."""
CLASS_TABLE_FILE = "figures/classes.json"
"""Average precision of every class, as MLflow's table."""
FORECAST_FILE = "forecast.json"
VERDICT_FILE = "verdict.json"
VERDICT_TAG = "kmcl.verdict"
"""On the run of each arm's search: how the arms did against the first one, a line each."""
