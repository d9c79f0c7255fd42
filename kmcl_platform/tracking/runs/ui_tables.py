"""Tables for MLflow's UI: an artifact in its format, and a tag that marks it as a table.

MLflow's own `log_table` appends to the table of an earlier call. Here a repeated call must not change the table.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kmcl_platform.tracking.runs.leaderboard import Leaderboard
from kmcl_platform.tracking.runs.names import WALL_SECONDS

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TABLES_TAG = "mlflow.loggedArtifacts"


def to_mlflow_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as the content of an artifact."""
    return json.dumps({"columns": list(columns), "data": [list(row) for row in rows]}, allow_nan=False)


def leaderboard_table(leaderboard: Leaderboard) -> str:
    """A leaderboard as the content of an artifact."""
    columns = ["rank", "trial", "outcome", "baseline", "epochs", leaderboard.metric, WALL_SECONDS, "run_id"]
    rows = [
        [row.rank, row.number, row.outcome, row.baseline, row.epochs, row.objective, row.wall_seconds, row.run_id]
        + [row.values[path] for path in leaderboard.paths]
        for row in leaderboard.rows
    ]
    return to_mlflow_table(columns + leaderboard.paths, rows)


def mark_table(client: "MlflowClient", run_id: str, path: str) -> None:
    """Mark an artifact of a run as a table; a second call changes nothing."""
    tables = json.loads(client.get_run(run_id).data.tags.get(_TABLES_TAG, "[]"))
    table = {"path": path, "type": "table"}
    if table not in tables:
        client.set_tag(run_id, _TABLES_TAG, json.dumps([*tables, table]))
