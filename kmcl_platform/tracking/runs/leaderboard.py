"""The trials of a search, the best first, read from MLflow alone."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kmcl_platform.config.loss_config import KERNEL_PATHS, LossConfig
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.aims import BREAKS, find_front, list_aims
from kmcl_platform.config.store import Store
from kmcl_platform.errors import SearchError
from kmcl_platform.tracking.database import connect_to_read, find_runs
from kmcl_platform.tracking.runs.names import (
    BASELINE_NAME_TAG,
    BASELINE_TAG,
    BASELINE_VERDICT_TAG,
    DEVICE_TAG,
    EPOCHS,
    FINALISTS_TAG,
    OBJECTIVE,
    OUTCOME_TAG,
    REASON_TAG,
    RUNNING,
    SOURCE_TAG,
    WALL_SECONDS,
    TrialOutcome,
    trial_number,
)
from kmcl_platform.tracking.runs.searches import find_parent, read_latest_search_file_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class LeaderboardRow:
    """One trial.

    Attributes:
        rank: place among the completed trials of full length, from 1. None: the trial is not one of them.
        number: the trial's number in the search, from 0.
        outcome: a TrialOutcome, or `running`.
        reason: why it ended so, in one line; empty: the outcome says it.
        baseline: whether it is a baseline: the base of the search file, or one that the file names.
        baseline_name: the baseline's name; empty: not a baseline.
        kernel_terms: whether its loss has a kernel term, the reconstruction or the contrastive one.
        epochs: number of epochs that it finished.
        objective: the study's value; of a trial that did not complete, its metric after its last epoch. None: no value.
        values: of the searched paths only, as MLflow has them.
        run_id: its MLflow run.
        wall_seconds: seconds of training and evaluation, over all attempts.
        source: the trial of an earlier search that had this point; empty: none.
        aims: its last values of the other objectives and of the constraints, by metric.
        device: the models of the GPUs or CPUs that it was trained on; empty: not known.
    """

    rank: int | None
    number: int
    outcome: str
    reason: str
    baseline: bool
    baseline_name: str
    kernel_terms: bool
    epochs: int
    objective: float | None
    values: dict[str, str]
    run_id: str
    wall_seconds: float
    source: str = ""
    aims: Mapping[str, float] = field(default_factory=dict)
    device: str = ""

    @property
    def is_refused(self) -> bool:
        """Whether its model broke a constraint, so that it was not trained."""
        return self.outcome == TrialOutcome.PRUNED and BREAKS in self.reason

    @property
    def ending(self) -> str:
        """The outcome for readers: `refused` for a trial whose model broke a constraint, apart from `pruned` ones."""
        return "refused" if self.is_refused else self.outcome

    def uses(self, path: str) -> bool:
        """Whether a searched value has an effect. Some are for kernel terms alone; a weight of 0 leaves one out."""
        return self.kernel_terms or path not in KERNEL_PATHS or self.values[path] in ("0", "0.0")


@dataclass
class Leaderboard:
    """A search's trials: completed ones by objective, then stopped ones by epochs, then failed and diverged ones."""

    search: str
    metric: str
    mode: str
    num_epochs: int
    paths: list[str]
    rows: list[LeaderboardRow]
    experiment_id: str
    parent_id: str
    baseline_verdict: str = ""
    """How the best trial and the best baseline compare on several seeds; empty: they were not trained again."""
    finalists: str = ""
    """The finalists as JSON (`comparison/finalists.py`); empty: the search has none."""
    aims: list[str] = field(default_factory=list)
    """The metrics that count beside the main objective: the other objectives, then the constraints."""
    objectives: dict[str, str] = field(default_factory=dict)
    """The mode of each objective, the main one first; empty: there is one."""

    def front(self) -> list[LeaderboardRow]:
        """The trade-offs of several objectives among the trials of full length, the best in the main one first."""
        names = list(self.objectives)[1:]
        rows = [row for row in self.rows if row.rank is not None and set(names) <= row.aims.keys()]
        if not names:
            return []
        points = [[row.objective or 0.0, *(row.aims[name] for name in names)] for row in rows]
        signs = [1 if mode == "maximize" else -1 for mode in self.objectives.values()]
        return [row for row, kept in zip(rows, find_front(points, signs), strict=True) if kept]

    @property
    def has_several_devices(self) -> bool:
        """Whether trials ran on different GPUs or CPUs, so that their seconds cannot be compared."""
        return len({row.device for row in self.rows if row.device}) > 1

    def best(self) -> LeaderboardRow:
        """The best trial that completed at full length.

        Raises:
            SearchError: no trial completed at full length.
        """
        if self.rows and self.rows[0].rank == 1:
            return self.rows[0]
        all_refused = self.rows and all(row.is_refused for row in self.rows)
        advice = "wait if it runs, or continue it with `kmcl search`"
        if all_refused:
            advice = "wider `constraints`, in a search of another name"
        raise SearchError(
            f"search {self.search!r} has no finished trial that ran all {self.num_epochs} epochs "
            f"(trials: {list_endings(self.rows) or 'none'}); valid: {advice}"
        )


def read_leaderboard(store: Store, search: str) -> Leaderboard:
    """Read a search's trials from MLflow; creates nothing.

    Raises:
        SearchError: there is no such store or search, or its record is incomplete.
        ConfigError: the search file of the record is not valid for this version of the platform.
    """
    client = connect_to_read(store)
    parent = find_parent(client, store, search)
    # The latest file: the space may have got new paths since the search began. The objective and the epochs are the
    # same (`search/study/definition.py`).
    file = read_latest_search_file_of(client, parent, search)
    board = build_leaderboard(client, file, parent.info.experiment_id, parent.info.run_id)
    board.baseline_verdict = parent.data.tags.get(BASELINE_VERDICT_TAG, "")
    board.finalists = parent.data.tags.get(FINALISTS_TAG, "")
    return board


def build_leaderboard(client: "MlflowClient", file: SearchFile, experiment_id: str, parent_id: str) -> Leaderboard:
    """Order the trials of a search as MLflow has them."""
    trials = [_to_row(run, file) for run in find_runs(client, experiment_id, role="trial", search=file.name)]
    trials.sort(key=lambda row: _merit(row, file))
    # `_merit` has sorted these trials to the front.
    num_ranked = sum(_is_full(row, file) for row in trials)
    placed = [replace(row, rank=place) for place, row in enumerate(trials[:num_ranked], start=1)]
    return Leaderboard(
        search=file.name,
        metric=file.objective.metric,
        mode=file.objective.mode,
        num_epochs=file.base.num_epochs,
        paths=list(file.space),
        rows=placed + trials[num_ranked:],
        experiment_id=experiment_id,
        parent_id=parent_id,
        aims=list_aims(file),
        objectives={one.metric: one.mode for one in file.objectives},
    )


def count_outcomes(rows: Iterable[LeaderboardRow]) -> dict[str, int]:
    """How many trials have each outcome."""
    return dict(Counter(row.outcome for row in rows))


def list_endings(rows: Iterable[LeaderboardRow]) -> str:
    """How many trials ended in each way, for readers: `3 completed, 1 refused`; empty: there are none."""
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(row.ending for row in rows).items()))


def _to_row(run: "Run", file: SearchFile) -> LeaderboardRow:
    tags, metrics = run.data.tags, run.data.metrics
    outcome = tags.get(OUTCOME_TAG, RUNNING)
    baseline = tags.get(BASELINE_TAG) == "true"
    return LeaderboardRow(
        rank=None,
        number=trial_number(run),
        outcome=outcome,
        reason=tags.get(REASON_TAG, ""),
        baseline=baseline,
        # An older version had one baseline, the base, and no name for it.
        baseline_name=tags.get(BASELINE_NAME_TAG, "base" if baseline else ""),
        source=tags.get(SOURCE_TAG, ""),
        device=tags.get(DEVICE_TAG, ""),
        kernel_terms=_has_kernel_terms(run.data.params),
        epochs=int(metrics.get(EPOCHS, 0)),
        objective=metrics.get(OBJECTIVE if outcome == TrialOutcome.COMPLETED else file.objective.metric),
        values={path: run.data.params.get(path, "") for path in file.space},
        run_id=run.info.run_id,
        wall_seconds=metrics.get(WALL_SECONDS, 0.0),
        aims={name: metrics[name] for name in list_aims(file) if name in metrics},
    )


def _has_kernel_terms(params: Mapping[str, str]) -> bool:
    # An own training has no loss of the platform.
    if not any(name.startswith("loss.") for name in params):
        return False
    # The fields that `has_kernel_terms` depends on. Runs of older versions lack some, and then have the default.
    names = (
        "objective", "balance",
        "reconstruction_weight", "contrastive_weight", "reconstruction_share", "contrastive_share",
    )  # fmt: skip
    given = {name: params[f"loss.{name}"] for name in names if f"loss.{name}" in params}
    # Params are text, which the configuration reads as numbers.
    return LossConfig.model_validate(given).has_kernel_terms


def _is_full(row: LeaderboardRow, file: SearchFile) -> bool:
    return row.outcome == TrialOutcome.COMPLETED and row.epochs == file.base.num_epochs and row.objective is not None


def _merit(row: LeaderboardRow, file: SearchFile) -> tuple[float, ...]:
    """A key that sorts the better trial first."""
    # Smaller is better in this key, so a maximised metric changes its sign. A trial without a value comes last.
    loss = float("inf") if row.objective is None else -file.objective.sign * row.objective
    if _is_full(row, file):
        return 0, loss, row.number
    # A longer trial is before a shorter one: values after different numbers of epochs cannot be compared. Numbers come
    # last in both keys, so that trials of equal value always have the same order.
    return 2 if row.outcome in (TrialOutcome.FAILED, TrialOutcome.DIVERGED) else 1, -row.epochs, loss, row.number
