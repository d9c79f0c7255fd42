"""Many simulated searches of several settings, in several processes."""

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.plugins.source import load_documents, to_documents
from kmcl_platform.search.replay.archive_curves import ArchiveCurves
from kmcl_platform.search.replay.surrogate import Surrogate
from kmcl_platform.search.replay.virtual_search import VirtualSearch, simulate
from kmcl_platform.search.sampling.first_points import COLD, WarmStart


def simulate_many(
    settings: Mapping[str, SearchFile],
    archive: ArchiveCurves,
    surrogate: Surrogate,
    *,
    seeds: Sequence[int],
    at_once: int,
    warm_starts: Mapping[str, WarmStart] | None = None,
    processes: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, list[VirtualSearch]]:
    """Simulate searches of each setting, all settings with the same seeds.

    Args:
        settings: search files without arms, by name; all with the same plug-ins.
        archive: the curves.
        surrogate: of these curves.
        seeds: one search for each.
        at_once: trials that run at the same time.
        warm_starts: the points of earlier searches with which each setting's searches begin. None: of none.
        processes: that simulate. None: one for each CPU.
        progress: called with the name of a setting, the number of its searches that are done, and of all.
    """
    plugins = to_documents(next(iter(settings.values())).base.plugins)
    tasks = [(name, seed) for name in settings for seed in seeds]
    found: dict[str, list[VirtualSearch]] = {name: [] for name in settings}
    # Written here: a process can read them only when it has loaded the plug-ins, whose classes may be among them.
    shared = pickle.dumps((settings, surrogate, archive, at_once, warm_starts or {}))
    # "spawn": a forked process would inherit the locks of the parent's threads in an unknown state. An executor and not
    # a pool: a pool whose processes cannot start tries again for ever.
    with ProcessPoolExecutor(
        processes or os.cpu_count(), multiprocessing.get_context("spawn"), _prepare, (plugins, shared)
    ) as pool:
        for (name, _), result in zip(tasks, pool.map(_simulate, tasks, chunksize=8), strict=True):
            found[name].append(result)
            if progress is not None:
                progress(name, len(found[name]), len(seeds))
    return found


_Shared = tuple[Mapping[str, SearchFile], Surrogate, ArchiveCurves, int, Mapping[str, WarmStart]]
_shared: list[_Shared] = []


def _prepare(plugins: list[dict[str, str]], shared: bytes) -> None:
    """Called once in each process: the archive is large, and the same for all of its searches."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # A process of a pool waits for work for ever, also if the process that gives it was killed.
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    threadpool_limits(1)
    load_documents(plugins)
    _shared.append(pickle.loads(shared))


def _end_with(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)


def _simulate(task: tuple[str, int]) -> VirtualSearch:
    settings, surrogate, archive, at_once, warm_starts = _shared[0]
    name, seed = task
    warm_start = warm_starts.get(name, COLD)
    return simulate(settings[name], surrogate, archive, seed=seed, at_once=at_once, warm_start=warm_start)
