"""The definition of a search: everything in its file that decides what trials compute and how they are chosen."""

import json
from typing import Any, NamedTuple

from kmcl_platform.config.first_trials import find_missing_room, list_baselines
from kmcl_platform.config.search_file import Baseline, SearchFile
from kmcl_platform.config.space.aims import wanted_costs
from kmcl_platform.config.space.dead_paths import find_dead_path
from kmcl_platform.config.trial_config import FORMER_DEFAULTS, FORMER_FIELDS, Scalar, TrialConfig
from kmcl_platform.errors import ConfigError, SearchError
from kmcl_platform.plugins.scheduler import RungScheduler
from kmcl_platform.plugins.source import other_plugins
from kmcl_platform.search.sampling.asking import counted_trials
from kmcl_platform.search.sampling.rung_schedule import find_early_rung
from kmcl_platform.search.sampling.search_study import SearchStudy
from kmcl_platform.search.study.space_change import SPACE, find_problem, note_change
from kmcl_platform.search.study.storage import load_study

DEFINITION = "definition"
"""Attribute of the study: the definition that it was begun with."""

PLUGIN_CHANGES = "plugin_changes"
"""Attribute of the study: for each change of plug-ins, the digests of the former code, and the trials that began with
it."""

_BASELINES = "baselines"
_PLUGINS = "base.plugins."

_LEFT_OUT = ("plugins", "budget", "verdict", "finalists", "promotion", "decision")
"""Parts of a search file that no trial's result depends on. The code of plug-ins is in `base.plugins`."""


_PLACEMENT = ("max_concurrent_trials", "checkpoint_minutes", "price_per_hour", "accelerator_type", "share")
"""Fields of `resources` that decide where and when trials run; they may change while a search goes on."""


class Allowed(NamedTuple):
    """What may differ from the definition that a search was begun with.

    Attributes:
        plugins: the code of plug-ins. Trials so far keep their code.
        space: the ranges of the space, and new paths in it. Trials so far stay.
    """

    plugins: bool = False
    space: bool = False


NOTHING = Allowed()
"""The definition must be the same."""


def settle_definition(study: SearchStudy, file: SearchFile, allowed: Allowed = NOTHING) -> SearchFile:
    """Refuse to continue a study with another search: mixing two spaces would make its ranking meaningless.

    A study without a definition gets that of the file.

    Args:
        study: of the search.
        file: the search.
        allowed: what may differ. The study keeps what it was, and for which trials.

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
    if allowed.space and (problem := find_problem(before, file)):
        raise SearchError(f"search {file.name!r}: {problem}; or another name in the file")
    plugins = {path: now[path] for path in before.keys() & now.keys() if path.startswith(_PLUGINS)}
    # Sorted, so that each start names the same difference.
    for path in sorted(before.keys() | now.keys()):
        in_space = path.startswith(SPACE)
        may_differ = (allowed.plugins and path in plugins) or (allowed.space and in_space)
        if not _is_same(before.get(path), now.get(path)) and not may_differ:
            other = "; or --allow-changed-plugins, for trials with different code" if path in plugins else ""
            if in_space and find_problem(before, file) is None:
                other = "; or --extend, to go on with the other space"
            raise SearchError(
                f"search {file.name!r} was begun with {path} = {before.get(path, 'nothing')}, the file now says "
                f"{now.get(path, 'nothing')}; "
                "valid: the same definition (the budget may grow), or another name in the file" + other
            )
    if any(before[path] != digest for path, digest in plugins.items()):
        _keep_former_code(study, {path.removeprefix(_PLUGINS): json.loads(before[path]) for path in plugins})
        # Last: after a kill before this line, the next start does both again.
        study.set_user_attr(DEFINITION, study.user_attrs[DEFINITION] | plugins)
    if allowed.space:
        note_change(study, before, now, len(counted_trials(study)))
        others = {path: text for path, text in study.user_attrs[DEFINITION].items() if not path.startswith(SPACE)}
        space = {path: text for path, text in now.items() if path.startswith(SPACE)}
        study.set_user_attr(DEFINITION, others | space)
    return file


def _keep_former_code(study: SearchStudy, plugins: dict[str, str]) -> None:
    """Note that the trials so far belong to the former code of the plug-ins.

    A second call, after a kill, changes nothing: a trial belongs to the first change that names it.
    """
    numbers = [trial.number for trial in counted_trials(study) if trial.number not in former_plugins(study)]
    if numbers:
        changes = study.user_attrs.get(PLUGIN_CHANGES, [])
        study.set_user_attr(PLUGIN_CHANGES, [*changes, {"plugins": plugins, "trials": numbers}])


def former_plugins(study: SearchStudy) -> dict[int, dict[str, str]]:
    """The plug-ins of each trial that began with former code, by its number: names and digests."""
    changes = study.user_attrs.get(PLUGIN_CHANGES, [])
    return {number: change["plugins"] for change in changes for number in change["trials"]}


def with_values(
    base: TrialConfig, values: dict[str, Scalar], former: dict[int, dict[str, str]], number: int
) -> TrialConfig:
    """The configuration of a trial, with the plug-ins with which it began.

    Args:
        base: of the search.
        values: of the trial.
        former: the result of `former_plugins`.
        number: of the trial.
    """
    if not former:
        return base.with_values(values)
    # A trial that trains in this process keeps the code that it has loaded.
    with other_plugins():
        return base.model_copy(update={"plugins": former.get(number, base.plugins)}).with_values(values)


def _with_stored_rung(file: SearchFile, before: dict[str, str] | None) -> SearchFile:
    """The file with the first rung of its study, if it names none: older versions had another default."""
    stored = (before or {}).get("scheduler.min_epochs")
    scheduler = file.scheduler
    if stored is None or not isinstance(scheduler, RungScheduler) or "min_epochs" in scheduler.model_fields_set:
        return file
    changed = scheduler.model_copy(update={"min_epochs": json.loads(stored)})
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
        ConfigError: the file names no baselines and cannot have the default ones; a rung lies in the warm-up; trials
            are stopped, and the sampler does not learn from stopped trials; or a path changes nothing in any trial.
    """
    problem = _find_problem_of_baselines(file) or find_schedule_problem(file) or find_dead_path(file.base, file.space)
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


def find_schedule_problem(file: SearchFile) -> str | None:
    """Why a new search may not stop its trials so, in words; None: it may."""
    if problem := find_early_rung(file):
        return problem
    name = file.sampler.name
    if file.sampler.learns_from_stopped or not file.scheduler.stopping_epochs(file.base.num_epochs):
        return None
    return (
        f"sampler.kind: got {name} with scheduler.kind {file.scheduler.name}; valid: tpe, or scheduler: "
        f"{{kind: none}}, because {name} learns nothing from trials that were stopped early"
    )


def _definition(file: SearchFile) -> dict[str, str]:
    """The definition under dotted paths, each value as JSON."""
    # Of `resources`, the number of workers and their threads may not change: they change a trial's numbers.
    dump = file.model_dump(
        exclude={"resources": set(_PLACEMENT)}
        | dict.fromkeys(_LEFT_OUT, True)
        | {name: True for name in ("prior", "warm_start", "objectives", "constraints") if not getattr(file, name)}
        | ({} if wanted_costs(file) else {"serving_device": True})
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
    # It only permits what the other fields say.
    definition.pop("scheduler.allow_early_rungs", None)
    return definition
