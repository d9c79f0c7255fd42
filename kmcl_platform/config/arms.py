"""Arms: alternatives in one search file. Each is a search of its own, with the same budget."""

import hashlib
import json
import re

from kmcl_platform.config.search_file import NAME_PATTERN, SearchFile
from kmcl_platform.config.search_parts import Budget
from kmcl_platform.config.space.distributions import Choice, Distribution
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.errors import ConfigError
from kmcl_platform.messages import nearest_first, show_value
from kmcl_platform.plugins.registry import find_component
from kmcl_platform.plugins.sampler import Sampler
from kmcl_platform.plugins.scheduler import Scheduler
from kmcl_platform.seeds import derive_seed

ARM_PATTERN = re.compile(r"[a-z0-9_-]+")

_NOT_COMPARABLE = {
    "data.source": "arms on different data cannot be compared",
    "num_epochs": "arms of different length cannot be compared",
}


def expand_arms(file: SearchFile) -> list[SearchFile]:
    """Return the searches that a file describes: itself, or one named NAME-ARM for each of its arms.

    An arm's base has the arm's values. Its space has only the paths that are searched under these values. A condition
    on a path that the arms set is resolved: its value is the same in all trials of an arm.

    Raises:
        ConfigError: the arms cannot be compared, or an arm is not a valid search.
    """
    if not file.arms:
        if file.verdict or file.finalists:
            _check_retrained_name(file, "name")
        return [file]
    _check_arms(file)
    _check_space(file)
    return [_expand(file, arm) for arm in file.arms]


def retrained_name(search: str, number: int) -> str:
    """The name of the search in which trial `number` of a search is trained again."""
    return f"{search}-best{number}"


def retrain_best(search: SearchFile, number: int, best: TrialConfig, num_seeds: int) -> SearchFile:
    """The search that trains a trial again, once on each of some new seeds.

    All trials of a comparison get the same seeds, so that differences can be paired by seed. The sampler's seed decides
    them.

    Args:
        search: the search of the trial.
        number: the trial's number.
        best: that trial's configuration.
        num_seeds: at least 1.
    """
    seeds = [derive_seed(search.sampler.seed, "verdict", place) for place in range(num_seeds)]
    return search.model_copy(
        update={
            "name": retrained_name(search.name, number),
            "base": best,
            # The base has a seed that the search has used, so it is not one of the trainings.
            "baseline": False,
            "baselines": (),
            "verdict": None,
            "finalists": None,
            "space": {"seed": Choice(kind="choice", choices=tuple(seeds))},
            "prior": None,
            "warm_start": (),
            "budget": Budget(trials=num_seeds, checkpoints=1),
            "scheduler": find_component(Scheduler, "none")(),
            "sampler": find_component(Sampler, "grid")(
                seed=search.sampler.seed, startup_trials=search.sampler.startup_trials
            ),
        }
    )


def base_alone(file: SearchFile) -> SearchFile:
    """The search that trains the base of a file, and nothing else.

    Its name is NAME-base-HASH, with a hash of the base: other values are another search.

    Raises:
        ConfigError: the file has arms, or the name is too long.
    """
    if file.arms:
        raise ConfigError(f"arms: got {', '.join(file.arms)}; valid: a file without arms, which has one base")
    # Without defaults: a field that is added to the platform later must not change the name.
    values = file.base.model_dump(mode="json", exclude_defaults=True)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    name = f"{file.name}-base-{digest[:6]}"
    if not NAME_PATTERN.fullmatch(name):
        raise ConfigError(f"name: got {name}; valid: a search's name of at most 63 characters")
    return file.model_copy(
        update={
            "name": name,
            "baseline": True,
            "baselines": (),
            "warm_start": (),
            "verdict": None,
            "finalists": None,
            "budget": Budget(trials=1, checkpoints=1),
            "scheduler": find_component(Scheduler, "none")(),
        }
    )


def to_yaml(file: SearchFile) -> bytes:
    """The YAML file of a search that was made from another file; reading it gives the same search."""
    return file.to_yaml().encode()


def _check_arms(file: SearchFile) -> None:
    """Check the names, paths and values of the arms, without the space."""
    known = file.base.flat()
    if len(file.arms) < 2:
        raise ConfigError(f"arms: got {len(file.arms)}; valid: at least 2, or no arms")
    first, paths = next((arm, sorted(values)) for arm, values in file.arms.items())
    for arm, values in file.arms.items():
        if not ARM_PATTERN.fullmatch(arm):
            raise ConfigError(
                f"arms.{arm}: got {show_value(arm)}; valid: a name of lower-case letters, digits, - and _"
            )
        _check_retrained_name(file.model_copy(update={"name": f"{file.name}-{arm}"}), f"arms.{arm}")
        for path, value in values.items():
            if path not in known:
                raise ConfigError(f"arms.{arm}.{path}: unknown path; valid: {nearest_first(path, known)}")
            if path in _NOT_COMPARABLE:
                raise ConfigError(
                    f"arms.{arm}.{path}: got {show_value(value)}, but {_NOT_COMPARABLE[path]}; valid: another path"
                )
            if path in file.space:
                raise ConfigError(
                    f"arms.{arm}.{path}: got {show_value(value)}, but space.{path} searches it; valid: one of the two"
                )
        if not values or sorted(values) != paths:
            got = ", ".join(sorted(values)) or "nothing"
            valid = f"the paths that arms.{first} sets, {', '.join(paths)}" if paths else "at least one path"
            raise ConfigError(f"arms.{arm}: got {got}; valid: {valid}")


def _check_retrained_name(search: SearchFile, place: str) -> None:
    """Check the longest name that a search can get, now and not after all trials."""
    longest = retrained_name(search.name, search.budget.trials - 1)
    if not NAME_PATTERN.fullmatch(longest):
        raise ConfigError(f"{place}: got {longest}; valid: a search's name of at most 63 characters")


def _check_space(file: SearchFile) -> None:
    """Check for misspelt paths, and for conditions that hold in no arm: they would be resolved without a message."""
    known = file.base.flat()
    settings = [_settings(file, arm) for arm in file.arms]
    before: list[str] = list(settings[0])
    for path, distribution in file.space.items():
        if path not in known:
            raise ConfigError(f"space.{path}: unknown path; valid: {nearest_first(path, known)}")
        for condition, value in distribution.when.items():
            if condition not in before:
                raise ConfigError(
                    f"space.{path}.when: got {show_value(condition)}; valid: a path that the arms set, or a path of "
                    f"the space that comes before it: {', '.join(before)}"
                )
            # Empty if the condition is on a path of the space, which `check_every_edge` checks later.
            values = list(dict.fromkeys(arm[condition] for arm in settings if condition in arm))
            if values and value not in values:
                raise ConfigError(
                    f"space.{path}.when.{condition}: got {show_value(value)}; valid: a value that some arm sets: "
                    f"{', '.join(map(repr, values))}"
                )
        before.append(path)
    # Each condition holds in some arm, but perhaps no arm meets all conditions of a path.
    searched = {path for arm in file.arms for path in _resolve(file, arm)}
    for path in file.space:
        if path not in searched:
            raise ConfigError(f"space.{path}.when: holds in no arm; valid: conditions that some arm meets together")


def _expand(file: SearchFile, arm: str) -> SearchFile:
    space = _resolve(file, arm)
    if not space:
        raise ConfigError(f"arms.{arm}: leaves nothing to search; valid: at least one path of the space for every arm")
    name = f"{file.name}-{arm}"
    return file.model_copy(
        update={
            "name": name,
            "base": file.base.with_values(file.arms[arm]),
            "space": space,
            # The arms are compared with one another, so an arm has no baselines by default.
            "baselines": file.baselines or (),
            "arms": {},
            "verdict": None,
        }
    )


def _resolve(file: SearchFile, arm: str) -> dict[str, Distribution]:
    """The space under an arm's values, without the conditions that they decide."""
    # Paths that are not searched under this arm are added: in all of its trials they have the base's value.
    fixed = _settings(file, arm)
    base = file.base.flat()
    space: dict[str, Distribution] = {}
    for path, distribution in file.space.items():
        if all(fixed[name] == value for name, value in distribution.when.items() if name in fixed):
            open_conditions = {name: value for name, value in distribution.when.items() if name not in fixed}
            space[path] = distribution.model_copy(update={"when": open_conditions})
        else:
            fixed[path] = base[path]
    return space


def _settings(file: SearchFile, arm: str) -> dict[str, Scalar]:
    """An arm's values as a trial has them: a whole number in the file may be a float there."""
    try:
        base = file.base.with_values(file.arms[arm])
    except ConfigError as error:
        raise ConfigError(f"arms.{arm}.{error}") from None
    return {path: base.value(path) for path in file.arms[arm]}
