import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.errors import SearchError
from kmcl_platform.tracking.comparison.leaderboard_text import TrialsTable, to_json
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome
from kmcl_platform.tracking.runs.searches import list_searches

OpenRuns = Callable[[], SearchRuns]
RunTrial = Callable[..., None]


def write_mixed_search(runs: SearchRuns, search_file: SearchFile, run_trial: RunTrial) -> None:
    done, pruned = TrialOutcome.COMPLETED, TrialOutcome.PRUNED
    run_trial(runs, 0, [0.1, 0.2, 0.3, 0.40], done, objective=0.40)
    run_trial(runs, 1, [0.95], pruned, loss__temperature=0.5)  # a high value, but after one epoch only
    run_trial(runs, 2, [0.1, 0.1], pruned)
    run_trial(runs, 3, [0.2, 0.2], pruned, objective=0.2)
    run_trial(runs, 4, [], TrialOutcome.FAILED)
    run_trial(runs, 5, [0.1, 0.2, 0.3, 0.60], done, objective=0.60, loss__temperature=0.123456789)
    run_trial(runs, 6, [0.1, 0.2, 0.99], done, objective=0.99)  # not full length: no rank
    runs.trials.begin(7, search_file.base, baseline=False)
    run_trial(runs, 8, [0.9, 0.9], TrialOutcome.DIVERGED)  # its values do not count


def test_trials_have_their_order_ranks_and_values(
    store: Store, open_runs: OpenRuns, search_file: SearchFile, run_trial: RunTrial
) -> None:
    runs = open_runs()
    write_mixed_search(runs, search_file, run_trial)
    board = read_leaderboard(store, "tiny")

    assert (board.search, board.metric, board.mode, board.num_epochs) == ("tiny", "val/mAP", "maximize", 4)
    assert board.paths == ["loss.temperature", "model.kernels_per_class"]
    assert (board.experiment_id, board.parent_id) == (runs.experiment_id, runs.parent_id)
    shown = [(row.rank, row.number, row.outcome, row.epochs, row.objective) for row in board.rows]
    assert shown == [
        (1, 5, "completed", 4, 0.60),
        (2, 0, "completed", 4, 0.40),
        (None, 6, "completed", 3, 0.99),
        (None, 3, "pruned", 2, 0.2),
        (None, 2, "pruned", 2, 0.1),
        (None, 1, "pruned", 1, 0.95),
        (None, 7, "running", 0, None),
        (None, 8, "diverged", 2, 0.9),
        (None, 4, "failed", 0, None),
    ]
    assert [row.number for row in board.rows if row.baseline] == [0]
    best = board.best()
    assert best.number == 5
    assert best.values == {"loss.temperature": "0.123456789", "model.kernels_per_class": "1"}
    assert best.wall_seconds == 8.0


def test_a_path_that_was_added_to_the_space_is_shown(store: Store) -> None:
    content = b"name: s\nbudget: {trials: 4}\nspace:\n  optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}\n"
    added = content + b"  optim.weight_decay: {kind: loguniform, low: 1e-5, high: 1e-1}\n"
    for text in (content, added):
        SearchRuns.open(store, parse_search_file(text, "s.yaml"), text, "s.yaml")
    assert read_leaderboard(store, "s").paths == ["optim.lr", "optim.weight_decay"]


def test_a_minimised_metric_ranks_the_other_way(store: Store) -> None:
    content = (
        b"name: low\nobjective: {metric: train/loss, mode: minimize}\nbase: {num_epochs: 1}\nbudget: {trials: 2}\n"
        b"space: {optim.lr: {kind: loguniform, low: 1e-5, high: 1}}\n"
    )
    file = parse_search_file(content, "low.yaml")
    runs = SearchRuns.open(store, file, content, "low.yaml")
    for number, loss in enumerate((3.0, 1.0, 2.0)):
        runs.trials.begin(number, file.base, baseline=False)
        runs.trials.log_epochs(number, [(EpochReport(epoch=1, metrics={"train/loss": loss}, seconds=1), None)])
        runs.trials.end(number, TrialOutcome.COMPLETED, objective=loss)
    assert [row.number for row in read_leaderboard(store, "low").rows] == [1, 2, 0]
    assert runs.link("http://h").endswith("orderByAsc=true")


def test_without_a_finished_trial_there_is_no_best_one(store: Store, open_runs: OpenRuns, run_trial: RunTrial) -> None:
    runs = open_runs()
    with pytest.raises(SearchError, match=r"search 'tiny' has no finished trial .*\(trials: none\)"):
        read_leaderboard(store, "tiny").best()
    run_trial(runs, 0, [0.5], TrialOutcome.PRUNED)
    run_trial(runs, 1, [], TrialOutcome.FAILED)
    with pytest.raises(SearchError, match=r"\(trials: 1 failed, 1 pruned\)") as caught:
        read_leaderboard(store, "tiny").best()
    assert "\n" not in str(caught.value)


def test_an_unknown_search_names_the_store_and_those_that_exist(store: Store, open_runs: OpenRuns) -> None:
    assert list_searches(store) == []
    with pytest.raises(SearchError) as caught:
        read_leaderboard(store, "Default")  # MLflow's own experiment is not a search
    assert str(caught.value) == f"{store.root}: no search 'Default'; valid: none"
    open_runs()
    assert list_searches(store) == ["tiny"]
    with pytest.raises(SearchError) as caught:
        read_leaderboard(store, "tinny")
    assert str(caught.value) == f"{store.root}: no search 'tinny'; valid: tiny"


def test_an_empty_store_gives_one_line_and_stays_empty(tmp_path: Path) -> None:
    for read in (list_searches, lambda store: read_leaderboard(store, "tiny")):
        with pytest.raises(SearchError, match="no search has been run here") as caught:
            read(open_store(tmp_path / "missing"))
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_json_has_stable_keys_and_exact_values(
    store: Store, open_runs: OpenRuns, search_file: SearchFile, run_trial: RunTrial
) -> None:
    write_mixed_search(open_runs(), search_file, run_trial)
    tree = json.loads(to_json(read_leaderboard(store, "tiny")))
    keys = [
        "search",
        "metric",
        "mode",
        "num_epochs",
        "paths",
        "rows",
        "experiment_id",
        "parent_id",
        "finalists",
        "aims",
        "objectives",
        "comparison",
        "front",
    ]
    assert list(tree) == keys
    row_keys = [
        "rank",
        "number",
        "outcome",
        "reason",
        "baseline",
        "baseline_name",
        "kernel_terms",
        "epochs",
        "objective",
        "values",
        "run_id",
    ]
    assert list(tree["rows"][0]) == [*row_keys, "wall_seconds", "source", "aims", "device"]
    assert tree["rows"][0]["values"]["loss.temperature"] == "0.123456789"
    assert (tree["comparison"]["best"]["number"], tree["comparison"]["baseline"]["number"]) == (5, 0)
    assert tree["comparison"]["difference"] == pytest.approx(0.2)


@pytest.mark.parametrize("width", [100, 80])
def test_the_table_fits_the_terminal_and_breaks_no_number(width: int, store: Store, run_trial: RunTrial) -> None:
    content = (Path(__file__).parents[3] / "search_spaces" / "digits.yaml").read_bytes()
    file = parse_search_file(content, "digits.yaml")
    runs = SearchRuns.open(store, file, content, "digits.yaml")
    values = {"loss__temperature": 0.123456789, "loss__reconstruction_weight": 0.0123456, "optim__lr": 0.000512345}
    run_trial(runs, 0, [0.5] * file.base.num_epochs, TrialOutcome.COMPLETED, objective=0.5)
    run_trial(runs, 1, [0.4] * 6, TrialOutcome.COMPLETED, objective=0.4, loss__objective="asymmetric")
    run_trial(runs, 11, [0.6] * file.base.num_epochs, TrialOutcome.COMPLETED, objective=0.61234567, **values)
    run_trial(runs, 3, [0.2, 0.3], TrialOutcome.INTERRUPTED, **values)
    console = Console(width=width, record=True, file=open("/dev/null", "w"))
    console.print(TrialsTable(read_leaderboard(store, "digits")))
    lines = console.export_text().splitlines()

    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    (best,) = (line for line in lines if "★" in line)
    rest = ["★", "11", "completed", "0.6123", "6/6", "12"]
    if width == 100:
        assert best.split() == [*rest, "1", "0.123", "0.0123", "0.1", "0.000512"]
        # The plain loss has no kernels: of the searched values it uses the learning rate alone.
        (plain,) = (line for line in lines if "0.4000" in line)
        assert plain.split()[-5:] == ["-", "-", "-", "-", "0.001"]
    else:
        assert best.split()[:6] == rest
        for pair in (
            "temperature=0.123",
            "weight=0.0123",
            "lr=0.000512",
        ):
            assert any(pair in line for line in lines)
    assert "base 0" in text
    assert "(s)" in text  # rich would read [s] as markup
    assert "reconstruction_" in text
    assert "interrupted" in text
    assert "2/6" in text
    assert "…" not in text


@pytest.mark.parametrize("number", ["abc", "", None])
def test_a_number_that_was_changed_is_an_error_of_one_line(
    number: str | None, store: Store, open_runs: OpenRuns, run_trial: RunTrial
) -> None:
    runs = open_runs()
    run_trial(runs, 0, [0.1], TrialOutcome.PRUNED)
    client, (run,) = connect(store), runs.trials.all_runs()
    if number is None:
        client.delete_tag(run.info.run_id, "kmcl.number")
    else:
        client.set_tag(run.info.run_id, "kmcl.number", number)
    for read in (lambda: read_leaderboard(store, "tiny"), runs.trials.outcomes):
        with pytest.raises(
            SearchError, match=rf"run {run.info.run_id}: tag kmcl.number: got '{number or ''}'; valid: "
        ):
            read()
