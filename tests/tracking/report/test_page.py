"""The report is one page without other files. It agrees with the record, also if trials failed or diverged."""

import gzip
import json
import math
import re
import shutil
import subprocess
import sys
import urllib.request
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.errors import SearchError
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.comparison.leaderboard_text import to_table
from kmcl_platform.tracking.report import figures
from kmcl_platform.tracking.report.collect import collect
from kmcl_platform.tracking.report.figures import best_so_far, build_figures, importances
from kmcl_platform.tracking.report.page import BEST_FILE, REPORT_FILE, to_page, write_report
from kmcl_platform.tracking.runs.names import DEVICE_TAG
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome
from tests.support.command_line import kmcl
from tests.support.store_copy import copy_store
from tests.support.waiting import answers, free_port, wait_until
from tests.tracking.conftest import SEARCH_YAML, trial_writer

RunTrial = Callable[..., None]
CURVES = {
    0: [0.1, 0.2, 0.3, 0.4], 1: [0.2], 2: [0.3, 0.5, 0.6, 0.61], 3: [0.1, 0.15], 4: [0.2, 0.4, 0.55, 0.58], 5: []
}  # fmt: skip
"""The objective of each trial after each epoch. With 4 values it completed, with fewer it was stopped early, with none it
failed."""


def write_search(
    store: Store, runs: SearchRuns, file: SearchFile, run_trial: RunTrial, curves: dict[int, list[float]]
) -> None:
    """Write the same trials to the study and to MLflow."""
    study = DurableStudy(store.study_url, file)
    for number, curve in curves.items():
        point = study.next_point()
        assert point is not None and point.number == number
        for epoch, value in enumerate(curve, start=1):
            study.report(number, epoch, value)
        outcome = TrialOutcome.COMPLETED if len(curve) == 4 else TrialOutcome.PRUNED if curve else TrialOutcome.FAILED
        study.tell(number, str(outcome), curve[-1] if len(curve) == 4 else None)  # type: ignore[arg-type]
        values = {path.replace(".", "__"): value for path, value in point.config.flat().items() if path in file.space}
        objective = curve[-1] if len(curve) == 4 else None
        run_trial(runs, number, curve, outcome, objective=objective, **values)


@pytest.fixture(scope="module")
def written(initialised_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a whole search, made once: it takes seconds to write."""
    root = tmp_path_factory.mktemp("written") / "a store"
    root.mkdir()
    shutil.copy(initialised_database, root / "mlflow.db")
    store, file = open_store(root), parse_search_file(SEARCH_YAML, "tiny.yaml")
    write_search(store, SearchRuns.open(store, file, SEARCH_YAML, "tiny.yaml"), file, trial_writer(file), CURVES)
    return root


@pytest.fixture
def searched(store: Store, written: Path, open_runs: Callable[[], SearchRuns]) -> SearchRuns:
    """The record of that search in a copy of the store."""
    shutil.rmtree(store.root)
    copy_store(written, store.root)
    return open_runs()


def test_the_page_needs_no_other_file_and_shows_the_trials(store: Store, searched: SearchRuns) -> None:
    page = to_page(collect(store, "tiny"))
    body = page[page.index("<body>") :]
    for reference in ("src=", "href=", "@import", "url("):
        assert reference not in body.split("<script")[0]
    assert "cdn.plot.ly" not in body
    library, figures = (gzip.decompress(b64decode(text)).decode() for text in re.findall(r'unpack\("([^"]+)"\)', page))
    assert library.count("plotly.js v") == 1
    assert json.loads(figures).keys() == set(re.findall(r"class='figure' id='([^']+)'", page))
    assert "<b>0.6100</b><span>val/mAP of the best trial, 2</span>" in page
    assert "<b>+0.2100</b><span>difference of the best KMCL trial from the best baseline, base</span>" in page
    first = "best KMCL trial: 2, val/mAP 0.6100; best baseline: base (trial 0), 0.4000; difference +0.2100, better; one seed"
    assert f"<h1>Search tiny</h1><p>{first}" in page
    assert "3 completed, 1 failed, 2 pruned" in page
    assert 1_000_000 < len(page) < 3_000_000


def test_devices_are_shown_where_seconds_are_only_if_there_are_several(store: Store, searched: SearchRuns) -> None:
    client = MlflowClient(store.tracking_uri)
    runs = {row.number: row.run_id for row in collect(store, "tiny").board.rows}
    client.set_tag(runs[0], DEVICE_TAG, "NVIDIA A100")
    data = collect(store, "tiny")
    assert "NVIDIA A100" not in to_page(data)
    assert "on" not in [column.header for column in to_table(data.board).columns]
    client.set_tag(runs[1], DEVICE_TAG, "Tesla T4")
    data = collect(store, "tiny")
    page = to_page(data)
    assert "<th>seconds</th><th>on</th>" in page
    assert "<td>8</td><td>NVIDIA A100</td>" in page
    assert "<li>On Tesla T4: 1 trial; an epoch took 2 s (median).</li>" in page
    (devices,) = [column for column in to_table(data.board).columns if column.header == "on"]
    assert sorted(devices.cells) == ["", "", "", "", "NVIDIA A100", "Tesla T4"]


def test_every_figure_is_drawn(store: Store, searched: SearchRuns) -> None:
    figures = list(build_figures(collect(store, "tiny")))
    assert [one.title for one in figures] == [
        "Best so far", "Importance", "Parallel coordinates", "Slices", "Epoch by epoch", "Timeline"
    ]  # fmt: skip
    assert all(one.figure is not None for one in figures)


def test_the_importance_of_many_trials_is_that_of_some_of_them(
    store: Store, searched: SearchRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []

    def count(study: optuna.Study, **_: object) -> dict[str, float]:
        seen.append([trial.number for trial in study.get_trials(states=[optuna.trial.TrialState.COMPLETE])])
        return {"optim.lr": 1.0}

    monkeypatch.setattr(figures, "get_param_importances", count)
    for most, kept in ((3, 3), (2, 2)):
        monkeypatch.setattr(figures, "MOST_EXPLAINED", most)
        seen.clear()
        importances(collect(store, "tiny"))
        assert seen and all(len(numbers) == kept for numbers in seen)
        # The loss is explained by the same trials.
        assert len({tuple(numbers) for numbers in seen}) == 1


def test_the_best_so_far_never_falls_and_counts_every_trials_time(store: Store, searched: SearchRuns) -> None:
    data = collect(store, "tiny")
    line = best_so_far(data).data[0]
    assert list(line.y) == [0.4, 0.4, 0.61, 0.61, 0.61]
    spent = sum(row.wall_seconds for row in data.board.rows if row.number < 5) / 3600
    assert line.x[-1] == pytest.approx(spent)


def test_a_diverged_trial_is_shown_and_changes_no_figure(
    store: Store, searched: SearchRuns, run_trial: RunTrial, recwarn: pytest.WarningsRecorder
) -> None:
    """The study has an infinite value for it, the worst possible one."""
    before = best_so_far(collect(store, "tiny")).data
    study = optuna.load_study(study_name="tiny", storage=store.study_url)
    (best,) = [trial for trial in study.get_trials() if trial.number == 2]
    parts = {"params": best.params, "distributions": best.distributions, "intermediate_values": {1: 0.99}}
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.COMPLETE, value=-math.inf, **parts))
    run_trial(searched, 6, [0.99], TrialOutcome.DIVERGED)
    data = collect(store, "tiny")
    assert "3 completed, 1 diverged, 1 failed, 2 pruned" in to_page(data)
    assert [(row.number, row.outcome) for row in data.board.rows][-2:] == [(6, "diverged"), (5, "failed")]
    after = best_so_far(data).data
    assert list(after[0].y) == list(before[0].y)
    for old, new in zip(before[1:], after[1:], strict=True):
        assert list(old.text) == list(new.text)
    assert all(one.figure is not None for one in build_figures(data))


def test_the_report_of_a_single_trial_names_the_missing_figures(
    store: Store, open_runs: Callable[[], SearchRuns], search_file: SearchFile, run_trial: RunTrial
) -> None:
    write_search(store, open_runs(), search_file, run_trial, {0: [0.1, 0.2, 0.3, 0.4]})
    data = collect(store, "tiny")
    assert "Not drawn: " in next(one.text for one in build_figures(data) if one.title == "Importance")
    assert "<b>0.4000</b>" in to_page(data)


def test_without_a_finished_trial_there_is_no_report(
    store: Store, open_runs: Callable[[], SearchRuns], search_file: SearchFile, run_trial: RunTrial, tmp_path: Path
) -> None:
    write_search(store, open_runs(), search_file, run_trial, {0: [0.1]})
    with pytest.raises(SearchError, match="has no finished trial"):
        write_report(store, "tiny")
    answer = kmcl("report", "tiny", "--out", str(tmp_path / "r.html"), store=store.root)
    assert (answer.exit_code, (tmp_path / "r.html").exists()) == (2, False)
    assert len(answer.stderr.splitlines()) == 1


def test_the_command_writes_the_page_and_logs_it_once(store: Store, searched: SearchRuns, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    for options in ((), ("--overwrite",)):
        answer = kmcl("report", "tiny", "--out", str(out), *options, store=store.root)
        assert answer.exit_code == 0, answer.output
    client = MlflowClient(store.tracking_uri)
    files = [file.path for file in client.list_artifacts(searched.parent_id, "report")]
    assert sorted(files) == [BEST_FILE, REPORT_FILE]
    assert Path(client.download_artifacts(searched.parent_id, REPORT_FILE)).read_text() == out.read_text()
    assert list(tmp_path.glob(".r.html*")) == []
    for words, message in (
        (("tiny", "--out", str(out)), "exists; valid: a new file, or --overwrite"),
        (("tiny", "--out", str(tmp_path / "r.pdf")), "r.pdf; valid: the path of a page (*.html)"),
        (("other", "--out", str(tmp_path / "o.html")), "no search 'other'; valid: tiny"),
        (("tiny", "--out", str(tmp_path / "no" / "r.html")), "valid: a path in a folder that exists"),
    ):
        answer = kmcl("report", *words, store=store.root)
        assert answer.exit_code == 2
        assert message in answer.stderr


def test_html_in_a_text_is_shown_as_text(store: Store, searched: SearchRuns) -> None:
    MlflowClient(store.tracking_uri).set_tag(searched.parent_id, "kmcl.verdict", "<script>alert(1)</script> +0.1")
    page = to_page(collect(store, "tiny"))
    assert "<script>alert(1)" not in page
    assert "Verdict: &lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("others", [["latency_ms"], ["latency_ms", "gflops"]])
def test_several_objectives_have_a_figure_of_all_trials(others: list[str], store: Store, searched: SearchRuns) -> None:
    data = collect(store, "tiny")
    board = data.board
    board.objectives = {board.metric: "maximize"} | dict.fromkeys(others, "minimize")
    # The better a trial, the more it costs; but the last two cost the same.
    board.rows = [
        replace(row, aims=dict.fromkeys(others, max(7.0 - place, 6.0))) for place, row in enumerate(board.rows)
    ]
    full = [row for row in board.rows if row.rank is not None]
    assert [row.number for row in board.front()] == [row.number for row in full[:2]]
    figure = next(one for one in build_figures(data) if one.title == "Trade-offs").figure
    assert figure is not None
    assert [len(one.x) for one in figure.data] == [2, len(full) - 2]


@pytest.mark.story
def test_optunas_dashboard_opens_the_study(store: Store, searched: SearchRuns) -> None:
    port = free_port()
    program = str(Path(sys.executable).with_name("optuna-dashboard"))
    server = subprocess.Popen([program, store.study_url, "--host", "127.0.0.1", "--port", str(port)])
    try:
        address = f"http://127.0.0.1:{port}/api/studies"
        wait_until(lambda: answers(address), seconds=60, process=server)
        with urllib.request.urlopen(address, timeout=5) as answer:
            studies = json.loads(answer.read())
        assert [study["study_name"] for study in studies["study_summaries"]] == ["tiny"]
    finally:
        server.terminate()
        server.wait(30)
