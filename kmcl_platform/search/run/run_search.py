"""Run the searches of a file: check everything first, then one search after another, then the comparison of arms."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from kmcl_platform.config.arms import base_alone, expand_arms, to_yaml
from kmcl_platform.config.search_file import SearchFile, check_trainable
from kmcl_platform.config.search_file_reader import (
    SearchDocument,
    SearchSource,
    errors_name,
    find_beside,
    open_source,
)
from kmcl_platform.config.store import Store, check_room
from kmcl_platform.config.store_record import check_study, claim_study
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.errors import ConfigError, DataError
from kmcl_platform.messages import show_value
from kmcl_platform.search.run.checks.component_check import check_components
from kmcl_platform.search.run.checks.files_check import check_features, check_weights, digest_features, digest_weights
from kmcl_platform.search.run.inline import InlineRunner
from kmcl_platform.search.run.on_ray.ray_runner import RayRunner
from kmcl_platform.search.run.runner import Runner
from kmcl_platform.search.run.running_search import SearchSummary as SearchSummary, keep_report
from kmcl_platform.search.run.single_search import run_or_find
from kmcl_platform.search.study.compared_trials import plan_retraining
from kmcl_platform.search.study.definition import NOTHING, Allowed, check_new_search
from kmcl_platform.search.study.inputs import Inputs
from kmcl_platform.search.study.storage import load_study
from kmcl_platform.search.warm_start import read_warm_start
from kmcl_platform.tracking.comparison.arms import compare_retrained, record_verdict
from kmcl_platform.tracking.comparison.finalists import record_finalists
from kmcl_platform.tracking.database.store_errors import find_trouble
from kmcl_platform.tracking.runs.searches import read_latest_file


def run_search(
    source: SearchSource,
    store: Store,
    console: Console,
    *,
    address: str | None = None,
    inline: bool = False,
    allowed: Allowed = NOTHING,
) -> list[SearchSummary]:
    """Run the search that a file describes, or continue it if the store already knows it.

    A file with arms describes one search for each arm. They run one after another, so that none takes another's share
    of the cluster. When all have ended, the best trial of each arm is trained again on new seeds, and the arms are
    compared. Without arms, a file with a `verdict` has the best trial compared with the best baseline in this way, and
    a file with `finalists` its best trials with one another.

    Args:
        source: the search file.
        store: where everything is kept.
        console: where progress is shown.
        address: a running Ray cluster (`auto`, `HOST:PORT`); None: start Ray on this machine, on loopback.
        inline: train in this process, one trial after the other, without Ray.
        allowed: what may differ from the search as it was begun.

    Returns:
        How each search ended, in the file's order; an interrupted one is the last.

    Raises:
        ConfigError: the file or an address is invalid.
        DataError: the data cannot be used.
        WeightsError: pretrained weights cannot be loaded.
        ResourceError: a trial does not fit on the cluster.
        SearchError: the search is running elsewhere, was begun with another definition, or its study or checkpoints
            are of another search.
        StoreError: the store cannot be written to. Finished work is not lost: the same call continues from there.
        ClusterError: the cluster cannot be reached, or Ray cannot be started.
    """
    runner = _choose_runner(address, inline)
    return _run_searches(open_source(source), store, console, runner, allowed)


def train_base(
    source: SearchSource,
    store: Store,
    console: Console,
    *,
    values: SearchSource | None = None,
    address: str | None = None,
    inline: bool = False,
) -> list[SearchSummary]:
    """Train the base of a search file, and nothing else; it is a search of its own, with one trial.

    Args:
        source: the search file, without arms.
        store: where everything is kept.
        console: where progress is shown.
        values: another search file, whose base is trained instead. None: the file's own.
        address: as for `run_search`.
        inline: as for `run_search`.

    Returns:
        How the search ended, alone in the list.

    Raises:
        KmclError: as for `run_search`.
    """
    document = open_source(source)
    file = document.parse()
    if values is not None:
        other = open_source(values)
        file = file.model_copy(update={"base": other.parse().base})
        document = replace(document, origin=other.origin)
    with errors_name(document.origin):
        document = replace(document, content=to_yaml(base_alone(file)))
    return _run_searches(document, store, console, _choose_runner(address, inline))


def resume_search(
    search: str,
    store: Store,
    console: Console,
    *,
    address: str | None = None,
    inline: bool = False,
    allowed: Allowed = NOTHING,
) -> list[SearchSummary]:
    """Continue a search of the store with the search file in its record, the latest that it ran with.

    Args:
        search: its name; for a file with arms, the name of one arm's search.
        store: where it is kept.
        console: where progress is shown.
        address: as for `run_search`.
        inline: as for `run_search`. A search may go on inline that was begun on Ray, and the other way round.
        allowed: with other plug-ins, they come from the current folder, or installed ones, instead of the record.

    Returns:
        How the search ended, alone in the list.

    Raises:
        SearchError: there is no such store or search, and as for `run_search`, like the other errors.
    """
    content, find = read_latest_file(store, search)
    if allowed.plugins:
        find = find_beside(Path("search.yaml"))
    document = SearchDocument(content, f"the file of search {search!r}", find)
    return _run_searches(document, store, console, _choose_runner(address, inline), allowed)


def check_data(file: SearchFile, store: Store) -> str:
    """Open the data before anything starts, so that an error in it is one line here, and not a worker's error.

    Returns:
        The manifest's content hash.

    Raises:
        DataError: the data cannot be read, a split that is needed has no images, or own features do not match.
    """
    manifest = open_manifest(file.base.data.source, store.data)
    for split in ("train", "val"):
        if manifest.split(split).num_rows == 0:
            raise DataError(f"{manifest.name}: split {split} has no images; valid: at least one")
    check_features(file, manifest)
    return manifest.content_hash


def prepare(file: SearchFile, origin: str, searches: Sequence[SearchFile], store: Store) -> Inputs:
    """Check all that a file's searches need, and begin the store.

    Args:
        file: the whole file.
        origin: its name for messages.
        searches: the file, or one for each of its arms.
        store: where they will be.

    Raises:
        KmclError: as for `run_search`.
    """
    # What writes into the store comes last: a file that is refused leaves no store behind.
    inputs = Inputs()
    # An own training reads its data by itself.
    if not file.base.own:
        data = check_data(file, store)
        check_weights(file)
        inputs = Inputs(data, digest_weights(file), digest_features(file))
    check_study(store)
    with errors_name(origin):
        for search in searches:
            check_new_search(search, store.study_url)
            if load_study(store.study_url, search.name) is None:
                read_warm_start(search, store.study_url)
    check_room(store.root)
    claim_study(store)
    return inputs


def _choose_runner(address: str | None, inline: bool) -> Runner:
    if not inline:
        return RayRunner(address)
    if address:
        raise ConfigError(
            f"--address: got {show_value(address)}; valid with --inline: no address, because Ray is not used"
        )
    return InlineRunner()


def _run_searches(
    document: SearchDocument, store: Store, console: Console, runner: Runner, allowed: Allowed = NOTHING
) -> list[SearchSummary]:
    file, content, origin = document.parse(), document.content, document.origin
    # A file without arms is recorded byte for byte, with its comments.
    searches = [(arm, to_yaml(arm)) for arm in expand_arms(file)] if file.arms else [(file, content)]
    summaries: list[SearchSummary] = []
    with errors_name(origin):
        check_trainable(file)
        runner.check(file)
        check_components(file)
    try:
        inputs = prepare(file, origin, [search for search, _ in searches], store)
        for search, own_content in searches:
            summaries.append(run_or_find(search, own_content, origin, store, console, runner, inputs, allowed))
            # The user has stopped the command, not only this arm.
            if summaries[-1].interrupted:
                return summaries
        retraining = plan_retraining(file, store)
        for arm, search in retraining.items():
            console.print(
                f"{'finalists' if file.finalists else 'verdict'}: {'the best trial of ' if file.arms else ''}{arm} "
                f"again, on {search.budget.trials} new seeds",
                highlight=False,
            )
            summary = run_or_find(search, to_yaml(search), origin, store, console, runner, inputs)
            summaries.append(replace(summary, retrains=arm))
            if summary.interrupted:
                return summaries
        if retraining:
            retrained = {arm: search.name for arm, search in retraining.items()}
            if file.finalists:
                record_finalists(store, file.name, retrained)
            else:
                comparisons = compare_retrained(store, retrained)
                record_verdict(store, [search.name for search, _ in searches], comparisons, of_baselines=not file.arms)
            # The pages were written before these results: they are written again with them.
            for search, _ in searches:
                keep_report(store, search.name, console)
    except Exception as error:
        if trouble := find_trouble(error, store):
            raise trouble from None
        raise
    return summaries
