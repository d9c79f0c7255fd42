"""The edge check: a search space that reaches an invalid trial is refused before anything starts."""

import json

from kmcl_platform.config.first_trials import active_paths, base_name
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.trial_config import Scalar
from kmcl_platform.errors import ConfigError
from kmcl_platform.messages import nearest_first, show_value
from kmcl_platform.plugins.scheduler import RungScheduler

_NOT_COMPARABLE = {
    "plugins": "the search file's `plugins` decide it",
    "data.source": "trials on different data cannot be compared",
    "num_epochs": "trials of different length cannot be compared",
}


def check_every_edge(file: SearchFile) -> None:
    """Build the configuration of a trial for every edge of the space, then for all lows and for all highs together.

    Raises:
        ConfigError: some trial would be invalid, or could not be compared with the others.
    """
    known = file.base.flat()
    for path, distribution in file.space.items():
        if path not in known:
            raise ConfigError(f"space.{path}: unknown path; valid: {nearest_first(path, known)}")
        if path in _NOT_COMPARABLE:
            raise ConfigError(f"space.{path}: {_NOT_COMPARABLE[path]}; valid: any other path")
        for condition, value in distribution.when.items():
            _check_condition(file, path, condition, value)
        for edge in distribution.edges():
            # With the values of its conditions, as in every trial that searches this path.
            config = _check_trial(file, {path: edge} | distribution.when, f"space.{path}", edge)
            _check_same_value(f"space.{path}", edge, config[path])
    # Values that are valid alone can be invalid together, for example if all weights of the loss are 0.
    if len(file.space) > 1:
        for which, index in (("lows", 0), ("highs", 1)):
            # A choice has its first value with the lows, and its second one, if there is one, with the highs.
            corner = {path: d.edges()[min(index, len(d.edges()) - 1)] for path, d in file.space.items()}
            _check_trial(file, corner, f"space with all {which} together", corner)
        zeros: dict[str, Scalar] = {path: 0.0 for path, d in file.space.items() if getattr(d, "zero", False)}
        if len(zeros) > 1:
            _check_trial(file, zeros, "space with all zeros together", zeros)
    if file.baseline:
        for path in active_paths(file, {}):
            if not file.space[path].contains(known[path]):
                raise ConfigError(
                    f"base.{path}: got {show_value(known[path])}; valid: a value within space.{path}, because the base "
                    "is the first trial (or set baseline: false)"
                )
    min_epochs = file.scheduler.min_epochs if isinstance(file.scheduler, RungScheduler) else 1
    if min_epochs > file.base.num_epochs:
        raise ConfigError(
            f"scheduler.min_epochs: got {min_epochs}; valid: at most base.num_epochs, {file.base.num_epochs}"
        )
    _check_baselines(file)
    _check_prior(file)


def _check_prior(file: SearchFile) -> None:
    """Check that the prior is about searched paths, and that each centre is a value of its range."""
    if file.prior is None:
        return
    if file.sampler.lists_points:
        raise ConfigError(
            f"prior: got one with sampler.kind {file.sampler.name}; valid: no prior, because a {file.sampler.name} "
            "draws no points"
        )
    base = file.base.flat()
    for path in file.prior.paths:
        if path not in file.space:
            raise ConfigError(
                f"prior.paths.{path}: a path that is not searched; valid: {nearest_first(path, file.space)}"
            )
    for path, distribution in file.space.items():
        center = file.prior.center_of(path, base, {})
        if not distribution.contains(center):
            raise ConfigError(
                f"prior.paths.{path}.center: got {show_value(center)}; valid: a value within space.{path}"
                + ("" if path in file.prior.paths else " (without a prior of its own, the path has the base's value)")
            )


def _check_baselines(file: SearchFile) -> None:
    """Check the names, paths and values of the baselines that the file lists."""
    known = file.base.flat()
    trials = {base_name(file): known} if file.baseline else {}
    for baseline in file.baselines or ():
        place = f"baselines.{baseline.name}"
        if baseline.name in trials:
            raise ConfigError(
                f"{place}: got {show_value(baseline.name)} a second time; valid: a name of its own"
                + (f" (the base has the name {base_name(file)})" if file.baseline else "")
            )
        for path, value in baseline.values.items():
            if path not in known:
                raise ConfigError(f"{place}.{path}: unknown path; valid: {nearest_first(path, known)}")
            if path in _NOT_COMPARABLE:
                raise ConfigError(
                    f"{place}.{path}: got {show_value(value)}, but {_NOT_COMPARABLE[path]}; valid: any other path"
                )
        config = _check_trial(file, baseline.values, place, baseline.values)
        for path, value in baseline.values.items():
            _check_same_value(f"{place}.{path}", value, config[path])
        for other, values in trials.items():
            if values == config:
                raise ConfigError(
                    f"{place}: got {show_value(baseline.values)}, the same trial as {other}; valid: other values"
                )
        trials[baseline.name] = config


def _check_same_value(place: str, value: Scalar, read: Scalar) -> None:
    # A quoted number, or `no` for false, would be compared with the values of trials and never be equal.
    if read != value:
        raise ConfigError(
            f"{place}: got {show_value(value)}, which a trial reads as {show_value(read)}; valid: {json.dumps(read)}"
        )


def _check_condition(file: SearchFile, path: str, condition: str, value: Scalar) -> None:
    paths = list(file.space)
    if condition not in paths or paths.index(condition) >= paths.index(path):
        before = ", ".join(paths[: paths.index(path)]) or "none"
        raise ConfigError(
            f"space.{path}.when: got {show_value(condition)}; valid: a path of the space that comes before it: {before}"
        )
    if not file.space[condition].contains(value):
        raise ConfigError(
            f"space.{path}.when.{condition}: got {show_value(value)}; valid: a value that space.{condition} can take"
        )


def _check_trial(file: SearchFile, values: dict[str, Scalar], place: str, got: object) -> dict[str, Scalar]:
    """The values of a trial's configuration under their dotted paths."""
    try:
        config = file.base.with_values(values)
    except ConfigError as error:
        raise ConfigError(f"{place}: got {show_value(got)}, which makes an invalid trial: {error}") from None
    workers = file.resources.workers_per_trial
    if config.data.batch_size % workers:
        raise ConfigError(
            f"{place}: data.batch_size: got {config.data.batch_size}; valid: a multiple of "
            f"resources.workers_per_trial, {workers}"
        )
    return config.flat()
