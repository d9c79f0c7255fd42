"""Many simulated searches of several settings, in several processes."""

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.plugins.source import know_documents, to_documents
from kmcl_platform.search.replay.archive_curves import ArchiveCurves
from kmcl_platform.search.replay.surrogate import Surrogate
from kmcl_platform.search.replay.virtual_search import VirtualSearch, simulate

Simulation = Callable[[str, SearchFile, Surrogate, ArchiveCurves, int, int], VirtualSearch]
"""From the setting's name, its file, the curves, a seed and the number of trials at the same time to one search."""


def simulate_setting(
    name: str, file: SearchFile, surrogate: Surrogate, archive: ArchiveCurves, seed: int, at_once: int
) -> VirtualSearch:
    """One search of a setting; its name does not matter."""
    return simulate(file, surrogate, archive, seed=seed, at_once=at_once)


def simulate_many(
    settings: Mapping[str, SearchFile],
    archive: ArchiveCurves,
    surrogate: Surrogate,
    *,
    seeds: Sequence[int],
    at_once: int,
    processes: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    simulation: Simulation = simulate_setting,
) -> dict[str, list[VirtualSearch]]:
    """Simulate searches of each setting, all settings with the same seeds.

    Args:
        settings: search files without arms, by name; all with the same plug-ins.
        archive: the curves.
        surrogate: of these curves.
        seeds: one search for each.
        at_once: trials that run at the same time.
        processes: that simulate. None: one for each CPU.
        progress: called with the name of a setting, the number of its searches that are done, and of all.
        simulation: a function of a module, which runs one search.
    """
    plugins = to_documents(next(iter(settings.values())).base.plugins)
    tasks = [(name, seed) for name in settings for seed in seeds]
    found: dict[str, list[VirtualSearch]] = {name: [] for name in settings}
    shared = (plugins, settings, surrogate, archive, at_once, simulation)
    # "spawn": a forked process would inherit the locks of the parent's threads in an unknown state. An executor and not
    # a pool: a pool whose processes cannot start tries again for ever.
    with ProcessPoolExecutor(
        processes or os.cpu_count(), multiprocessing.get_context("spawn"), _prepare, (shared,)
    ) as pool:
        for (name, _), result in zip(tasks, pool.map(_simulate, tasks, chunksize=8), strict=True):
            found[name].append(result)
            if progress is not None:
                progress(name, len(found[name]), len(seeds))
    return found


_Shared = tuple[list[dict[str, str]], Mapping[str, SearchFile], Surrogate, ArchiveCurves, int, Simulation]
_shared: list[_Shared] = []


def _prepare(shared: _Shared) -> None:
    """Called once in each process: the archive is large, and the same for all of its searches."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threadpool_limits(1)
    know_documents(shared[0])
    _shared.append(shared)


def _simulate(task: tuple[str, int]) -> VirtualSearch:
    _, settings, surrogate, archive, at_once, simulation = _shared[0]
    name, seed = task
    return simulation(name, settings[name], surrogate, archive, seed, at_once)
