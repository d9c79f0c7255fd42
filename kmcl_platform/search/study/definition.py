"""The definition of a search: everything in its file that decides what trials compute and how they are chosen."""

import json
from typing import Any

from kmcl_platform.config.schedulers import NoStopping
from kmcl_platform.config.search_file import Baseline, SearchFile, find_missing_room, list_baselines
from kmcl_platform.config.trial_config import FORMER_DEFAULTS, FORMER_FIELDS, TrialConfig
from kmcl_platform.errors import ConfigError, SearchError
from kmcl_platform.search.sampling.rung_schedule import find_early_rung
from kmcl_platform.search.sampling.search_study import SearchStudy
from kmcl_platform.search.study.storage import load_study

DEFINITION = "definition"
"""Attribute of the study: the definition that it was begun with."""

_BASELINES = "baselines"

_LEFT_OUT = ("plugins", "budget", "verdict", "finalists", "promotion", "decision")
"""Parts of a search file that no trial's result depends on. The code of plug-ins is in `base.plugins`."""


def settle_definition(study: SearchStudy, file: SearchFile) -> SearchFile:
    """Refuse to continue a study with another search: mixing two spaces would make its ranking meaningless.

    A study without a definition gets that of the file.

    Returns:
        The file, with a list of baselines. If it has none, the list is the study's; a new study has the defaults, and a
        study begun without the field has none.

    Raises:
        SearchError: the study was begun with another definition; the message names the first difference.
    """
    before = study.user_attrs.get(DEFINITION)
    if file.baselines is None:
        new = before is None and not study.all_trials()
        stored = json.loads((before or {}).get(_BASELINES, "[]"))
        chosen = list_baselines(file) if new else tuple(map(Baseline.model_validate, stored))
        file = file.model_copy(update={"baselines": chosen})
    file = _with_stored_rung(file, before)
    now = _definition(file)
    if before is None:
        study.set_user_attr(DEFINITION, now)
        return file
    # A field that the study does not know was added later; its default of that time is what trials did before.
    former = TrialConfig().flat() | FORMER_DEFAULTS
    added_later = {f"base.{path}": json.dumps(value) for path, value in former.items()}
    added_later[_BASELINES] = "[]"
    added_later |= {path: "false" for path in now if path.startswith("space.") and path.endswith(".zero")}
    before = added_later | before
    # A field that was removed since then, and that changed nothing.
    for path, value in FORMER_FIELDS.items():
        if before.get(f"base.{path}") == json.dumps(value):
            del before[f"base.{path}"]
    # Sorted, so that each start names the same difference.
    for path in sorted(before.keys() | now.keys()):
        if not _is_same(before.get(path), now.get(path)):
            raise SearchError(
                f"search {file.name!r} was begun with {path} = {before.get(path, 'nothing')}, the file now says "
                f"{now.get(path, 'nothing')}; "
                "valid: the same definition (the budget may grow), or another name in the file"
            )
    return file


def _with_stored_rung(file: SearchFile, before: dict[str, str] | None) -> SearchFile:
    """The file with the first rung of its study, if it names none: older versions had another default."""
    stored = (before or {}).get("scheduler.min_epochs")
    if stored is None or "min_epochs" in file.scheduler.model_fields_set or not hasattr(file.scheduler, "min_epochs"):
        return file
    changed = file.scheduler.model_copy(update={"min_epochs": json.loads(stored)})
    return file.model_copy(update={"scheduler": changed})


def _is_same(before: str | None, now: str | None) -> bool:
    """Whether two values, as JSON, are the same: 1 and 1.0 are, 1 and true are not."""
    if before == now or before is None or now is None:
        return before == now
    values = [json.loads(text) for text in (before, now)]
    # A default may be 1 where a file's own 1 is read as 1.0.
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return numbers and values[0] == values[1]


def check_new_search(file: SearchFile, url: str) -> None:
    """Refuse a new search that older versions accepted.

    The reader of search files does not check these points: searches of older versions stay readable, and go on.

    Args:
        file: the search, without arms.
        url: the address of the study's database.

    Raises:
        ConfigError: the file names no baselines and cannot have the default ones; a rung lies in the warm-up; or
            trials are stopped, and the sampler does not learn from stopped trials.
    """
    problem = _find_problem_of_baselines(file) or find_early_rung(file) or _find_problem_of_sampler(file)
    if problem and load_study(url, file.name) is None:
        raise ConfigError(problem)


def _find_problem_of_baselines(file: SearchFile) -> str | None:
    """Why a file cannot have the default baselines, in words; None: it can, or it names its own."""
    if file.baselines is not None:
        return None
    defaults = list_baselines(file)
    for one in defaults:
        try:
            file.base.with_values(one.values)
        except ConfigError as error:
            return f"baselines.{one.name}: got {one.values}, which makes an invalid trial: {error}; or baselines: []"
    return find_missing_room(file) if defaults else None


def _find_problem_of_sampler(file: SearchFile) -> str | None:
    """Why the sampler does not fit the scheduler, in words; None: it does."""
    if file.sampler.kind != "gp" or isinstance(file.scheduler, NoStopping):
        return None
    return (
        f"sampler.kind: got gp with scheduler.kind {file.scheduler.kind}; valid: tpe, or scheduler: {{kind: none}}, "
        "because gp learns nothing from trials that were stopped early"
    )


def _definition(file: SearchFile) -> dict[str, str]:
    """The definition under dotted paths, each value as JSON."""
    # Of `resources`, only the number of trials at the same time may change: the number of workers and their threads
    # change a trial's numbers.
    # `allow_early_rungs` only permits what the other fields say.
    dump = file.model_dump(
        exclude={"resources": {"max_concurrent_trials"}, "scheduler": {"allow_early_rungs"}}
        | dict.fromkeys(_LEFT_OUT, True)
        | ({"prior": True} if file.prior is None else {})
    )
    definition: dict[str, str] = {}

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, dict):
            for name, child in node.items():
                walk(f"{prefix}.{name}" if prefix else name, child)
        else:
            # Text compares exactly: in Python, 1, 1.0 and True are equal.
            definition[prefix] = json.dumps(node)

    walk("", dump)
    return definition
