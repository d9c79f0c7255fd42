"""The trials of a search in order of merit, read from MLflow alone."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store
from kmcl_platform.errors import SearchError
from kmcl_platform.tracking.database import connect_to_read, find_runs, store_name
from kmcl_platform.tracking.runs.names import (
    BASELINE_TAG,
    EPOCHS,
    LATEST_FILE_TAG,
    NUMBER_TAG,
    OBJECTIVE,
    OUTCOME_TAG,
    RUNNING,
    SEARCH_FILE,
    SEARCH_TAG,
    WALL_SECONDS,
    TrialOutcome,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class LeaderboardRow:
    """One trial.

    Attributes:
        rank: place among the completed full-length trials, from 1; None for all others.
        number: the trial's number in the search, from 0.
        outcome: a TrialOutcome, or `running`.
        baseline: whether it is the search file's base as it stands.
        epochs: epochs reached.
        objective: what the study was told; for a trial that did not complete, its metric after its last epoch, if any.
        values: the searched paths only, as MLflow holds them.
        run_id: its MLflow run.
        wall_seconds: training and evaluation, over all attempts.
    """

    rank: int | None
    number: int
    outcome: str
    baseline: bool
    epochs: int
    objective: float | None
    values: dict[str, str]
    run_id: str
    wall_seconds: float


@dataclass
class Leaderboard:
    """A search's trials: completed ones by objective, then stopped ones by how far they came, then failed ones."""

    search: str
    metric: str
    mode: str
    num_epochs: int
    paths: list[str]
    rows: list[LeaderboardRow]
    experiment_id: str
    parent_id: str

    def best(self) -> LeaderboardRow:
        """The best trial that completed at full length.

        Raises:
            SearchError: there is none.
        """
        if self.rows and self.rows[0].rank == 1:
            return self.rows[0]
        counts = ", ".join(f"{count} {name}" for name, count in sorted(count_outcomes(self.rows).items()))
        raise SearchError(
            f"search {self.search!r} has no finished trial that ran all {self.num_epochs} epochs "
            f"(trials: {counts or 'none'}); continue it with `kmcl search`"
        )


def read_leaderboard(store: Store, search: str) -> Leaderboard:
    """Read a search's trials from MLflow; creates nothing.

    Raises:
        SearchError: there is no such store or search, or its record is not whole.
        ConfigError: the search file of the record is not valid for this version of the platform.
    """
    client = connect_to_read(store)
    parent = _find_parent(client, store, search)
    file = read_search_file_of(client, parent.info.run_id, search)
    return build_leaderboard(client, file, parent.info.experiment_id, parent.info.run_id)


def read_latest_file(store: Store, search: str) -> bytes:
    """The search file that a search last ran with, byte for byte.

    Raises:
        SearchError: there is no such store or search, or its record is not whole.
    """
    client = connect_to_read(store)
    parent = _find_parent(client, store, search)
    return read_artifact(client, parent.info.run_id, parent.data.tags.get(LATEST_FILE_TAG, SEARCH_FILE))


def read_search_file_of(client: "MlflowClient", parent_id: str, search: str) -> SearchFile:
    """The file that a search began with, from its run.

    Raises:
        SearchError: it is not there.
        ConfigError: it is not valid for this version of the platform.
    """
    return parse_search_file(read_artifact(client, parent_id, SEARCH_FILE), f"{SEARCH_FILE} of search {search!r}")


def list_searches(store: Store) -> list[str]:
    """The names of the store's searches, sorted; creates nothing.

    Raises:
        SearchError: there is no such store.
    """
    return _search_names(connect_to_read(store))


def build_leaderboard(client: "MlflowClient", file: SearchFile, experiment_id: str, parent_id: str) -> Leaderboard:
    """Order the trials that MLflow holds of a search."""
    trials = [_to_row(run, file) for run in find_runs(client, experiment_id, role="trial", search=file.name)]
    trials.sort(key=lambda row: _merit(row, file))
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
    )


def read_artifact(client: "MlflowClient", run_id: str, name: str) -> bytes:
    """The bytes of a run's artifact.

    Raises:
        SearchError: it is not there.
    """
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            return Path(client.download_artifacts(run_id, name, folder)).read_bytes()
        except (OSError, MlflowException) as error:
            reason = " ".join(str(error).split())[:300]
            raise SearchError(f"run {run_id}: its artifact {name} cannot be read: {reason}") from None


def count_outcomes(rows: Iterable[LeaderboardRow]) -> dict[str, int]:
    """How many trials ended in each way."""
    return dict(Counter(row.outcome for row in rows))


def to_json(leaderboard: Leaderboard) -> str:
    """The leaderboard as JSON; the keys are the names of the fields, in their order."""
    return json.dumps(asdict(leaderboard), indent=2, ensure_ascii=False, allow_nan=False)


def to_table(leaderboard: Leaderboard) -> Table:
    """The leaderboard for a terminal of 100 columns; values are rounded, `to_json` has them whole."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for header in ("#", "trial", "outcome", leaderboard.metric, "epochs", "time\n(s)"):
        table.add_column(header, no_wrap=True, justify="left" if header == "outcome" else "right")
    for header in _short_names(leaderboard.paths):
        table.add_column(header.replace("_", "_\n"), overflow="fold", justify="right")
    for row in leaderboard.rows:
        table.add_row(
            "★" if row.rank == 1 else str(row.rank or ""),
            f"base {row.number}" if row.baseline else str(row.number),
            row.outcome,
            "" if row.objective is None else f"{row.objective:.4f}",
            f"{row.epochs}/{leaderboard.num_epochs}",
            f"{row.wall_seconds:.0f}",
            *(_rounded(row.values[path]) for path in leaderboard.paths),
            style="bold" if row.rank == 1 else "dim" if row.rank is None else None,
        )
    return table


def _find_parent(client: "MlflowClient", store: Store, search: str) -> "Run":
    experiment = client.get_experiment_by_name(search)
    parents = find_runs(client, experiment.experiment_id, role="search", search=search) if experiment else []
    if not parents:
        there = ", ".join(_search_names(client)) or "none"
        raise SearchError(f"{store_name(store)}: no search {search!r}; valid: {there}")
    return parents[0]


def _to_row(run: "Run", file: SearchFile) -> LeaderboardRow:
    tags, metrics = run.data.tags, run.data.metrics
    outcome = tags.get(OUTCOME_TAG, RUNNING)
    return LeaderboardRow(
        rank=None,
        number=int(tags[NUMBER_TAG]),
        outcome=outcome,
        baseline=tags.get(BASELINE_TAG) == "true",
        epochs=int(metrics.get(EPOCHS, 0)),
        objective=metrics.get(OBJECTIVE if outcome == TrialOutcome.COMPLETED else file.objective.metric),
        values={path: run.data.params.get(path, "") for path in file.space},
        run_id=run.info.run_id,
        wall_seconds=metrics.get(WALL_SECONDS, 0.0),
    )


def _is_full(row: LeaderboardRow, file: SearchFile) -> bool:
    return row.outcome == TrialOutcome.COMPLETED and row.epochs == file.base.num_epochs and row.objective is not None


def _merit(row: LeaderboardRow, file: SearchFile) -> tuple[float, ...]:
    """Sorts the better trial first."""
    loss = float("inf") if row.objective is None else -file.objective.sign * row.objective
    if _is_full(row, file):
        return 0, loss, row.number
    return 2 if row.outcome in (TrialOutcome.FAILED, TrialOutcome.DIVERGED) else 1, -row.epochs, loss, row.number


def _search_names(client: "MlflowClient") -> list[str]:
    names: list[str] = []
    token: str | None = None
    while True:
        page = client.search_experiments(page_token=token)
        names += [experiment.name for experiment in page if SEARCH_TAG in experiment.tags]
        token = page.token
        if not token:
            return sorted(names)


def _short_names(paths: list[str]) -> list[str]:
    """The last part of each path, with the part before it where two would look alike."""
    last = Counter(path.rpartition(".")[2] for path in paths)
    return [".".join(path.split(".")[-(1 if last[path.rpartition(".")[2]] == 1 else 2) :]) for path in paths]


def _rounded(value: str) -> str:
    try:
        return f"{float(value):.3g}" if "." in value or "e" in value else value
    except ValueError:
        return value
