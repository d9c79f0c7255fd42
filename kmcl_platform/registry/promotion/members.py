"""The trials that are promoted: the best one, one that the user names, or the best ones together as an ensemble."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from kmcl_platform.config.space.aims import parse_bound
from kmcl_platform.config.store import Store
from kmcl_platform.errors import CheckpointError, RegistryError
from kmcl_platform.messages import show_value
from kmcl_platform.tracking.comparison.finalists import promoted_row
from kmcl_platform.tracking.database import find_runs
from kmcl_platform.tracking.runs.leaderboard import Leaderboard, LeaderboardRow
from kmcl_platform.tracking.runs.names import NUMBER_TAG, ROLE_TAG, SEARCH_TAG, STORE_TAG
from kmcl_platform.training.checkpoints.checkpoint import TrialProgress, read_progress
from kmcl_platform.training.checkpoints.checkpoint_folder import AVERAGE, find_checkpoint

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENSEMBLE_ROLE = "ensemble"
"""The tag `kmcl.role` of the run that an ensemble has beside the runs of its members."""


@dataclass(frozen=True)
class Member:
    """One trial, with what its last checkpoint says.

    Attributes:
        row: of the leaderboard.
        state: the progress in the checkpoint.
        checkpoint: the checkpoint's folder.
    """

    row: LeaderboardRow
    state: TrialProgress
    checkpoint: Path


def label_of(members: Sequence[Member]) -> str:
    """`6` for one trial, `6-13-1` for several: the value of the tag `kmcl.number`."""
    return "-".join(str(one.row.number) for one in members)


def describe(members: Sequence[Member]) -> str:
    """`trial 6`, or `the ensemble of trials 6, 13, 1`."""
    numbers = ", ".join(str(one.row.number) for one in members)
    return f"trial {numbers}" if len(members) == 1 else f"the ensemble of trials {numbers}"


def choose_members(
    store: Store, board: Leaderboard, *, trial: int | None = None, size: int = 1, prefer: str | None = None
) -> tuple[Member, ...]:
    """The trials to promote, the best one first.

    Args:
        store: of the search.
        board: its leaderboard.
        trial: the number of the only one. None: the best finalist; in a search without finalists the full-length trial
            with the best value.
        size: of the ensemble. Its further members are the next trials of full length, in the order of their values,
            whose checkpoints were kept and that have the input of the first one: the same image size, background,
            features, classes and plug-ins.
        prefer: a bound, such as `latency_ms<5`: the best trial in the main objective that keeps it, and whose
            checkpoint was kept. None: no bound.

    Raises:
        SearchError: no trial has finished.
        RegistryError: an argument means nothing, `trial` did not run to the end, there are too few trials for `size`,
            no trial keeps the bound, or a checkpoint is gone or damaged.
    """
    _check_choice(trial, size, prefer)
    if trial is not None:
        return (_named(store, board, trial),)
    row = _preferred(store, board, prefer) if prefer is not None else promoted_row(board)
    first = read_checkpoint(store, board.search, row)
    members = [first]
    for row in board.rows:
        if len(members) == size:
            break
        if row.rank is None or row.number == first.row.number or not _has_checkpoint(store, board.search, row):
            continue
        other = read_checkpoint(store, board.search, row)
        if _input(other.state) == _input(first.state):
            members.append(other)
    if len(members) < size:
        more = "`budget.checkpoints` in the search file says how many are kept"
        kept = (
            f"the trials of search {board.search!r} of full length with a kept checkpoint and the same input ({more})"
        )
        if len(members) > 1:
            most = "2" if len(members) == 2 else f"2 to {len(members)}"
            raise RegistryError(f"ensemble: got {show_value(size)}; valid: {most}, {kept}")
        raise RegistryError(f"ensemble: got {show_value(size)}; valid: a search with two of {kept}")
    return tuple(members)


def _check_choice(trial: object, size: object, prefer: object) -> None:
    for name, value, least in (("trial", trial, 0), ("ensemble", size, 1)):
        right = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not right and not (name == "trial" and value is None):
            raise RegistryError(f"{name}: got {show_value(value)}; valid: a whole number of at least {least}")
    if sum((trial is not None, size != 1, prefer is not None)) > 1:
        raise RegistryError("trial, ensemble, prefer: got more than one of them; valid: one of the three")


def _named(store: Store, board: Leaderboard, trial: int) -> Member:
    full = [row for row in board.rows if row.rank is not None and _has_checkpoint(store, board.search, row)]
    for row in full:
        if row.number == trial:
            return read_checkpoint(store, board.search, row)
    numbers = ", ".join(str(number) for number in sorted(row.number for row in full)) or "none"
    raise RegistryError(
        f"trial: got {show_value(trial)}; valid: a trial of search {board.search!r} that ran all {board.num_epochs} "
        f"epochs and whose checkpoint was kept: {numbers} (`budget.checkpoints` in the search file says how many are "
        "kept)"
    )


def _preferred(store: Store, board: Leaderboard, prefer: object) -> LeaderboardRow:
    """The best trial of full length that keeps a bound on one of the search's further objectives or constraints."""
    found = re.fullmatch(r"(?P<metric>[^<>=]+)(?P<bound><=?.*)", prefer) if isinstance(prefer, str) else None
    metric, bound = (found["metric"].strip(), parse_bound(found["bound"])) if found else ("", None)
    if metric not in board.aims or bound is None:
        known = " or ".join(f"{name}<NUMBER" for name in board.aims)
        raise RegistryError(
            f"prefer: got {show_value(prefer)}; valid: {known or 'nothing: the search has one objective'}"
        )
    full = [row for row in board.rows if row.rank is not None and metric in row.aims]
    strict = "=" not in str(prefer)
    keeping = [row for row in full if row.aims[metric] < bound or (row.aims[metric] == bound and not strict)]
    for row in keeping:
        if _has_checkpoint(store, board.search, row):
            return row
    if keeping:
        numbers = ", ".join(str(row.number) for row in keeping)
        raise RegistryError(
            f"prefer: got {show_value(prefer)}, which only trials without a kept checkpoint keep ({numbers}); valid: "
            "another bound; a larger `budget.checkpoints` keeps those of further trials"
        )
    least = min((row.aims[metric] for row in full if _has_checkpoint(store, board.search, row)), default=None)
    kept = "no trial has one" if least is None else f"the least of the trials with a checkpoint is {least:.4g}"
    raise RegistryError(f"prefer: got {show_value(prefer)}, which no trial of full length keeps; valid: {kept}")


def _has_checkpoint(store: Store, search: str, row: LeaderboardRow) -> bool:
    return find_checkpoint(store.trial_checkpoints(search, row.number)) is not None


def _input(state: TrialProgress) -> object:
    config = state.config
    data = config.data
    return data.image_size, data.background, data.features, state.features, state.class_names, dict(config.plugins)


def read_checkpoint(store: Store, search: str, row: LeaderboardRow) -> Member:
    """A trial with its last checkpoint.

    Raises:
        RegistryError: there is no checkpoint, or a file of it is damaged.
    """
    folder = store.trial_checkpoints(search, row.number)
    checkpoint = find_checkpoint(folder)
    if checkpoint is None:
        raise RegistryError(
            f"search {search!r}: trial {row.number}, its best, has no checkpoint in {folder}; valid: a store with "
            "the checkpoints of the search"
        )
    try:
        # This reads the header and compares its sizes with that of the file.
        with safe_open(checkpoint / AVERAGE, framework="numpy"):
            pass
    except (OSError, SafetensorError) as error:
        raise RegistryError(
            f"{checkpoint / AVERAGE}: cannot be read ({error}); valid: the weights as `kmcl search` wrote them"
        ) from None
    try:
        return Member(row, read_progress(checkpoint), checkpoint)
    except CheckpointError as error:
        # Its advice is for a trial that trains. This one has ended, and does not begin again.
        problem = str(error).partition("; valid: ")[0]
        raise RegistryError(f"{problem}; valid: the files as `kmcl search` wrote them, or another trial") from None


def find_run(client: "MlflowClient", board: Leaderboard, members: Sequence[Member]) -> str:
    """The run of test metrics and logged model: the trial's, or the ensemble's. Empty: it was not made yet."""
    if len(members) == 1:
        return members[0].row.run_id
    found = find_runs(client, board.experiment_id, role=ENSEMBLE_ROLE, search=board.search, number=label_of(members))
    # A search that was removed and made again has other runs.
    return next((run.info.run_id for run in found if run.data.tags.get("mlflow.parentRunId") == board.parent_id), "")


def open_run(client: "MlflowClient", board: Leaderboard, members: Sequence[Member]) -> str:
    """As `find_run`; an ensemble gets its run, a child of the search's."""
    if found := find_run(client, board, members):
        return found
    parent = client.get_run(board.parent_id)
    own = {STORE_TAG: parent.data.tags[STORE_TAG]} if STORE_TAG in parent.data.tags else {}
    tags = {
        "mlflow.parentRunId": board.parent_id,
        SEARCH_TAG: board.search,
        ROLE_TAG: ENSEMBLE_ROLE,
        NUMBER_TAG: label_of(members),
        "kmcl.members": ", ".join(one.row.run_id for one in members),
    }
    run = client.create_run(board.experiment_id, tags=own | tags, run_name=f"ensemble-{label_of(members)}")
    # Nothing runs: its members were trained before.
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)
