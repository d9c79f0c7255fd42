"""The configuration of a trial, read back from the params of its MLflow run."""

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kmcl_platform.config.base import Scalar
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import SearchError

if TYPE_CHECKING:
    from mlflow.entities import Run


def read_value(text: str) -> Scalar:
    """The value of a param, which MLflow keeps as text: a number, true, false or none if it is written as one."""
    words: dict[str, Scalar] = {"True": True, "False": False, "None": None, "": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def read_config(run: "Run", base: TrialConfig | None = None) -> TrialConfig:
    """The configuration in the params of a trial's run, which are text.

    Args:
        run: of the trial.
        base: of the search: an own value that is a text there is one in its trials too.

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
    texts = {name for name, value in base.own.items() if isinstance(value, str)} if base else set()
    # Pydantic knows the types of all other fields.
    own = {name: text if name in texts else read_value(str(text)) for name, text in tree.get("own", {}).items()}
    tree |= {"own": own} if own else {}
    try:
        return TrialConfig.from_record(tree)
    except ValidationError as error:
        name = ".".join(map(str, error.errors()[0]["loc"]))
        raise SearchError(
            f"run {run.info.run_id}: param {name}: cannot be read; valid: the params that `kmcl search` wrote"
        ) from None
