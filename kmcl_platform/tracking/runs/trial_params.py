"""The configuration of a trial, read back from the params of its MLflow run."""

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import SearchError

if TYPE_CHECKING:
    from mlflow.entities import Run


def read_config(run: "Run") -> TrialConfig:
    """The configuration in the params of a trial's run, which are text.

    Raises:
        SearchError: a param was changed or removed.
    """
    tree: dict[str, Any] = {}
    for path, text in run.data.params.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = None if text == "None" else text
    try:
        return TrialConfig.from_record(tree)
    except ValidationError as error:
        name = ".".join(map(str, error.errors()[0]["loc"]))
        raise SearchError(
            f"run {run.info.run_id}: param {name}: cannot be read; valid: the params that `kmcl search` wrote"
        ) from None
