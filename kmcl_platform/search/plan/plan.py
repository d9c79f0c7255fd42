"""Plan a search: run the first steps of the corners of its space on real workers, and forecast the search."""

import math
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from kmcl_platform.config.arms import expand_arms
from kmcl_platform.config.search_file import SearchFile, check_trainable
from kmcl_platform.config.search_file_reader import SearchSource, errors_name, open_source
from kmcl_platform.config.store import Store, check_room
from kmcl_platform.config.store_record import check_study
from kmcl_platform.files.atomic_write import make_folder, write_atomically
from kmcl_platform.rank_agreement import RankAgreement
from kmcl_platform.search.cluster.ray_session import cluster_address, start_ray, stop_ray, trial_nodes
from kmcl_platform.search.cluster.resources import count_concurrent_trials, note_unused_gpus
from kmcl_platform.search.forecast.costs import mix_costs
from kmcl_platform.search.forecast.forecast import Forecast, build_forecast
from kmcl_platform.search.plan.measure import MeasuredType, measure, resources_to_measure
from kmcl_platform.search.plan.probe_points import Corner, TriedCorner, list_uncovered, to_config
from kmcl_platform.search.replay.archive_curves import agreement_by_epoch, read_curves
from kmcl_platform.search.run.checks.component_check import check_components
from kmcl_platform.search.run.checks.files_check import check_weights
from kmcl_platform.search.run.run_search import check_data
from kmcl_platform.search.sampling.asking import VALUES
from kmcl_platform.search.study.definition import check_new_search
from kmcl_platform.search.study.lock import SearchLock
from kmcl_platform.search.study.storage import load_study
from kmcl_platform.search.warm_start import read_warm_start


@dataclass(frozen=True)
class SearchPlan:
    """The plan of a search: its measured corners, its forecast, and the reason if it cannot be run.

    Attributes:
        file: the search.
        tried: the corners, the costliest first.
        concurrency: the trials that CPUs, GPUs and `resources.max_concurrent_trials` allow at the same time.
        concurrency_in_memory: the trials that fit into memory at the same time; None: no corner ran.
        forecast: the forecast; None: no corner ran.
        free_bytes: the free bytes of the store's disk.
        refusal: why the search cannot be run, and which bound to change; empty: it can be run.
        notes: further lines for the user.
        agreement: how far the order of trials after an epoch agrees with that at the end, by epoch; empty: no archive
            was given.
        types: what each type of GPU of the cluster has measured; `tried` are the corners of the slowest. Empty: there
            are not several types, or the search asks for one.
    """

    file: SearchFile
    tried: list[TriedCorner]
    concurrency: int
    concurrency_in_memory: int | None
    forecast: Forecast | None
    free_bytes: int
    refusal: str
    notes: list[str]
    agreement: dict[int, RankAgreement] = field(default_factory=dict)
    types: list[MeasuredType] = field(default_factory=list)


def run_plan(
    source: SearchSource,
    store: Store,
    console: Console,
    *,
    num_steps: int,
    address: str | None = None,
    archives: Sequence[Path] = (),
) -> list[SearchPlan]:
    """Plan the search that a file describes, or each of its arms; the forecasts are stored.

    Neither a study nor an MLflow run is created. A search that runs is not planned: the measured times would be wrong,
    and the forecast that the search is compared with must not change.

    Args:
        source: the search file.
        store: where the search will be run.
        console: where progress is shown.
        num_steps: timed optimizer steps of each corner.
        address: as for `run_search`.
        archives: files that `kmcl archive` wrote, with trials of this space.

    Returns:
        The plan of each search, in the file's order. A search that cannot be run has a `refusal`.

    Raises:
        ConfigError: the file is invalid.
        DataError: the data or an archive cannot be used.
        WeightsError: pretrained weights cannot be had.
        ResourceError: a trial does not fit on the cluster, or the cluster is in use.
        SearchError: the search is running.
        ClusterError: the cluster cannot be reached.
    """
    document = open_source(source)
    file = document.parse()
    with errors_name(document.origin):
        check_trainable(file)
    cluster = cluster_address(address)
    check_data(file, store)
    check_weights(file)
    # With another study, a search that has begun would look new, and its forecast would be replaced.
    check_study(store)
    check_room(store.root)
    searches = expand_arms(file)
    with errors_name(document.origin):
        check_components(file)
        for search in searches:
            check_new_search(search, store.study_url)
            if search.warm_start and not _has_begun(store, search.name):
                read_warm_start(search, store.study_url)
    agreements = [agreement_by_epoch(read_curves(archives, search)) if archives else {} for search in searches]
    with ExitStack() as stack:
        # The scratch folder has the name of the file. For a file with arms, no search has that name.
        for name in dict.fromkeys([file.name, *(search.name for search in searches)]):
            stack.enter_context(SearchLock(store.root, name))
        scratch = store.forecast(file.name).parent / f".{file.name}"
        # A plan that was killed has left its folder.
        shutil.rmtree(scratch, ignore_errors=True)
        # The block ends in the opposite order: Ray stops first, then the folder of its workers goes, then the locks.
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        console.print(f"plan {file.name}: starting Ray", highlight=False)
        start_ray(address)
        # Imports Ray, which reads its settings from the environment at that moment: `start_ray` sets them first.
        from kmcl_platform.search.plan.probe_runner import Prober, check_free

        stack.callback(stop_ray)
        nodes = trial_nodes()
        concurrency = count_concurrent_trials(nodes, file.resources)
        # One group of workers for all arms: they have the same resources. A Ray of this machine was started for this
        # plan alone, so all of it is free.
        measured: list[list[MeasuredType]] = []
        for resources in resources_to_measure(nodes, file.resources):
            if cluster:
                check_free(resources)
            prober = Prober(resources, store, scratch, num_steps)
            measured.append([measure(search, prober, nodes, resources, console) for search in searches])
            prober.close()
        plans = [
            _plan(search, store, list(types), nodes, concurrency)
            for search, *types in zip(searches, *measured, strict=True)
        ]
    return [replace(plan, agreement=found) for plan, found in zip(plans, agreements, strict=True)]


def _plan(
    file: SearchFile, store: Store, types: list[MeasuredType], nodes: list[dict[str, float]], concurrency: int
) -> SearchPlan:
    # The slowest type, or one on which nothing ran.
    tried = max(types, key=lambda one: one.costs.epoch_seconds.expected if one.costs else math.inf).tried
    costs = [(one.costs, one.concurrency) for one in types if one.costs]
    in_memory = None
    if costs:
        lacking = sum(max(0, one.concurrency - (one.in_memory or one.concurrency)) for one in types)
        in_memory = max(1, concurrency - lacking) if lacking or len(types) > 1 else types[0].in_memory
    forecast = build_forecast(file, mix_costs(costs), min(concurrency, in_memory or concurrency)) if costs else None
    free_bytes = shutil.disk_usage(store.root).free
    failed = next((one.refusal for one in types if one.refusal), "")
    refusal = failed or refuse_room(file, forecast, concurrency, in_memory, free_bytes)
    notes = _note(file, tried, [one.corner for one in tried])
    if unused := note_unused_gpus(nodes, file.resources):
        notes.append(unused)
    if failed and forecast:
        notes.append("the forecast is computed from the corners that ran")
    if _has_begun(store, file.name):
        notes.append("the search has begun: this forecast is of the whole search, and is not stored")
    elif forecast and not refusal:
        make_folder(store.forecast(file.name).parent)
        write_atomically(store.forecast(file.name), forecast.model_dump_json(indent=1))
    else:
        # The forecast of an earlier plan is not valid any more.
        store.forecast(file.name).unlink(missing_ok=True)
    several = types if len(types) > 1 else []
    return SearchPlan(file, tried, concurrency, in_memory, forecast, free_bytes, refusal, notes, types=several)


def refuse_room(
    file: SearchFile, forecast: Forecast | None, concurrency: int, in_memory: int | None, free_bytes: int
) -> str:
    """Why trials that run alone cannot run at the same time, or need too much disk; empty: they can."""
    if in_memory is not None and in_memory < concurrency:
        return (
            f"resources.max_concurrent_trials: CPUs and GPUs hold {concurrency} trials at once, but memory holds "
            f"only {in_memory} of the costliest corner; valid: at most {in_memory}"
        )
    if forecast is not None and forecast.peak_disk_bytes > free_bytes:
        return (
            f"budget.checkpoints: {file.budget.checkpoints} kept and {forecast.concurrency} trials at once need up to "
            f"{forecast.peak_disk_bytes / 1e9:.3g} GB, and {free_bytes / 1e9:.3g} GB are free; valid: fewer kept, "
            "a lower resources.max_concurrent_trials, or a store on a larger disk"
        )
    return ""


def _note(file: SearchFile, tried: list[TriedCorner], corners: list[Corner]) -> list[str]:
    notes = []
    for number, one in enumerate(tried, start=1):
        # A loss that is already not finite in the first steps is a refusal, so it needs no warning.
        if one.measured and one.measured.nonfinite_peak_steps and not one.measured.nonfinite_first_steps:
            lr = to_config(file, one.corner).optim.lr
            notes.append(
                f"corner {number}: at the peak learning rate {lr:g}, without its warm-up, the loss is not finite in "
                f"{one.measured.nonfinite_peak_steps} of {one.measured.peak_steps} steps: such trials may diverge"
            )
    if count := sum(bool(one.refused) for one in tried):
        forecast = ", but the forecast counts all trials as trained" if any(one.measured for one in tried) else ""
        notes.append(
            f"corners that break a constraint: {count} of {len(tried)}; such trials end before they train{forecast}"
        )
    if uncovered := list_uncovered(file, corners):
        notes.append(f"not tried in any corner: {', '.join(uncovered)}")
    return notes


def _has_begun(store: Store, search: str) -> bool:
    study = load_study(store.study_url, search)
    return study is not None and any(VALUES in trial.user_attrs for trial in study.get_trials(deepcopy=False))
