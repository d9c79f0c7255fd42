"""Many simulated searches of a file, and of the same file with other settings, side by side."""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import RenderableType

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import SearchDocument, SearchSource, open_source
from kmcl_platform.errors import ConfigError
from kmcl_platform.files.yaml_document import read_yaml, write_yaml
from kmcl_platform.messages import show_value
from kmcl_platform.search.cluster.resources import count_concurrent_trials
from kmcl_platform.search.replay.archive_curves import read_curves
from kmcl_platform.search.replay.many_searches import simulate_many
from kmcl_platform.search.replay.statistics import quantile_of_searches
from kmcl_platform.search.replay.surrogate import Quality, Surrogate
from kmcl_platform.search.replay.virtual_search import VirtualSearch
from kmcl_platform.search.study.definition import find_schedule_problem
from kmcl_platform.search.warm_start import read_warm_start
from kmcl_platform.seeds import derive_seed
from kmcl_platform.shown import Shown

OWN, WHOLE, RANDOM = "this file", "without early stopping", "random, without early stopping"
"""The settings that every replay has."""

_STANDARD: dict[str, dict[str, Any]] = {
    OWN: {},
    WHOLE: {"scheduler": {"kind": "none"}},
    RANDOM: {"scheduler": {"kind": "none"}, "sampler": {"kind": "random"}, "warm_start": []},
}

_OF_ALL_SAMPLERS = ("seed", "startup_trials")

_MAY_DIFFER = ("scheduler", "sampler", "prior", "budget", "baseline", "baselines", "warm_start")
"""Parts of a search file that another setting may change. The others decide what is trained, which an archive has."""


@dataclass(frozen=True)
class Outcome:
    """The simulated searches of one setting."""

    name: str
    searches: list[VirtualSearch] = field(repr=False)

    def best_at(self, epochs: float) -> np.ndarray:
        """The best value of each search after so many epochs of all its trials; NaN: no trial had completed."""
        return np.array([_at(one, epochs) for one in self.searches])

    def finals(self) -> np.ndarray:
        """The best value of each whole search."""
        return np.array([one.final for one in self.searches])


@dataclass(frozen=True)
class Replay(Shown):
    """The result of a replay.

    Attributes:
        search: the name of the search file.
        metric: its objective.
        sign: 1: larger values are better; -1: smaller ones are.
        num_trials: trials of the archive that are points of the space.
        num_used: those whose curves the simulated searches see.
        dataset: the name of the data that they were trained on.
        skipped: trials of the archive that are not.
        quality: of the surrogate.
        at_once: the number of trials at the same time.
        outcomes: one for each setting; the first is the file's own.
    """

    search: str
    metric: str
    sign: int
    num_trials: int
    num_used: int
    dataset: str
    skipped: int
    quality: Quality
    at_once: int
    outcomes: list[Outcome]

    @property
    def target(self) -> float | None:
        """What random search reaches at its end without early stopping: the median of its best values. None: nothing,
        because in half of its searches no trial completes."""
        return quantile_of_searches(self._named(RANDOM).finals(), 0.5, self.sign)

    def epochs_to_target(self, outcome: Outcome) -> list[float]:
        """For each search, the epochs after which its best value reaches `target`; infinite: it never does."""
        target = self.target
        if target is None:
            return [math.inf] * len(outcome.searches)
        return [
            next(
                (m for m, best in zip(one.epochs, one.best, strict=True) if self.sign * (best - target) >= 0), math.inf
            )
            for one in outcome.searches
        ]

    def parts(self) -> Iterable[RenderableType]:
        """What the simulation knows, a line for each setting, and how to read it."""
        from kmcl_platform.search.replay.replay_table import EXPLANATION, describe_archive, to_table

        return [*describe_archive(self), to_table(self), EXPLANATION]

    def to_json(self) -> str:
        """The numbers of all settings as JSON."""
        from kmcl_platform.search.replay.replay_table import to_json

        return to_json(self)

    def to_page(self) -> str:
        """A page of HTML with the curves."""
        from kmcl_platform.search.replay.replay_page import to_page

        return to_page(self)

    def _named(self, name: str) -> Outcome:
        return next(one for one in self.outcomes if one.name == name)


def run_replay(
    source: SearchSource,
    archives: Sequence[Path],
    *,
    searches: int,
    compare: Sequence[str] = (),
    at_once: int | None = None,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Replay:
    """Simulate searches of a file with the curves of archives.

    Args:
        source: the search file, without arms.
        archives: files that `kmcl archive` wrote, at least one.
        searches: of each setting, at least 1.
        compare: further settings, each a YAML mapping of parts of the file, such as `{sampler: {kind: random}}`.
        at_once: trials at the same time. None: as many as the file allows, or as fit on this machine's CPUs.
        seed: of the first search; the others have seeds derived from it.
        processes: that simulate. None: one for each CPU.
        progress: called with the name of a setting, the number of its searches that are done, and of all.

    Raises:
        ConfigError: the file or a setting is not valid.
        DataError: an archive is not valid, or is not of this search.
    """
    document = open_source(source)
    file, origin = document.parse(), document.origin
    if file.arms:
        raise ConfigError(f"{origin}: arms: got {', '.join(file.arms)}; valid: a file without arms, one search")
    archive = read_curves(archives, file)
    settings = {name: _with_parts(document, change) for name, change in _STANDARD.items()}
    settings |= {text: _with_parts(document, _read_setting(text)) for text in compare}
    at_once = at_once or min(_default_at_once(file), *(setting.budget.trials for setting in settings.values()))
    for name, setting in settings.items():
        if at_once > setting.budget.trials:
            raise ConfigError(
                f"trials at once: got {at_once}; valid: at most {setting.budget.trials}, the trials of {name!r}"
            )
    warm_starts = {name: read_warm_start(setting, None) for name, setting in settings.items()}
    surrogate = Surrogate(archive, file)
    seeds = [derive_seed(seed, "replay", number) for number in range(searches)]
    found = simulate_many(
        settings,
        archive,
        surrogate,
        seeds=seeds,
        at_once=at_once,
        warm_starts=warm_starts,
        processes=processes,
        progress=progress,
    )
    return Replay(
        search=file.name,
        metric=file.objective.metric,
        sign=file.objective.sign,
        num_trials=len(archive.points),
        num_used=len(archive.own),
        dataset=archive.dataset,
        skipped=archive.skipped,
        quality=surrogate.quality,
        at_once=at_once,
        outcomes=[Outcome(name, results) for name, results in found.items()],
    )


def _read_setting(text: str) -> dict[str, Any]:
    change = read_yaml(text.encode(), "--compare")
    if not isinstance(change, dict) or not change or not set(change) <= set(_MAY_DIFFER):
        raise ConfigError(
            f"--compare: got {show_value(text)}; valid: a YAML mapping with {', '.join(_MAY_DIFFER)}, such as "
            "'{sampler: {kind: random}}'"
        )
    return change


def _with_parts(document: SearchDocument, change: dict[str, Any]) -> SearchFile:
    """The file with other parts. A part with a `kind` replaces the file's; of any other, single fields are replaced."""
    tree = read_yaml(document.content, document.origin)
    for part, value in change.items():
        before = tree.get(part)
        if isinstance(value, dict) and isinstance(before, dict):
            # Another sampler keeps what all samplers have.
            kept = _OF_ALL_SAMPLERS if part == "sampler" else ()
            before = {name: before[name] for name in kept if name in before} if "kind" in value else before
            value = before | value
        tree[part] = value
    origin = f"--compare {show_value(change)}" if change else document.origin
    file = SearchDocument(write_yaml(tree), origin, document.find).parse()
    if problem := find_schedule_problem(file):
        raise ConfigError(f"{origin}: {problem}")
    for name in ("objectives", "constraints"):
        if given := getattr(file, name):
            raise ConfigError(f"{origin}: {name}: got {len(given)}; valid: none in a replay: an archive has one metric")
    return file


def _default_at_once(file: SearchFile) -> int:
    resources = file.resources
    workers = resources.workers_per_trial
    # This machine's CPUs, and GPUs for one trial. A machine that is too small for a trial can still simulate it.
    cpus = max(os.cpu_count() or 1, workers * resources.cpus_per_worker)
    gpus = math.ceil(workers * resources.gpus_per_worker)
    return count_concurrent_trials([{"CPU": cpus, "GPU": gpus}], resources)


def _at(search: VirtualSearch, epochs: float) -> float:
    """The best value after so many epochs."""
    count = sum(moment <= epochs for moment in search.epochs)
    return search.best[count - 1] if count else math.nan
