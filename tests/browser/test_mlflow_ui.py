"""MLflow's pages about a search and its champion, at the links that `kmcl ui` prints."""

import html
import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from playwright.sync_api import expect

from kmcl_platform.tracking.report import REPORT_FILE
from tests.browser.conftest import Looker, Ui

QUERY = "workflowType=machine_learning"


@pytest.fixture(scope="session")
def runs(store: Path) -> dict[str, list[Run]]:
    """The MLflow runs by role: `search` has the parent run, `trial` the trials' runs with the best first."""
    client = MlflowClient(f"sqlite:///{store.absolute()}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if "kmcl.search" in e.tags][:1]
    found = client.search_runs([experiment.experiment_id])
    trials = [run for run in found if run.data.tags["kmcl.role"] == "trial"]
    # Trials that were stopped early have an objective too, but no pictures.
    trials.sort(key=lambda r: (r.data.tags["kmcl.outcome"] != "completed", -r.data.metrics.get("objective", -1.0)))
    return {"search": [run for run in found if run.data.tags["kmcl.role"] == "search"], "trial": trials}


def test_the_table_has_every_trial_and_charts_are_drawn(looker: Looker, ui: Ui, runs: dict[str, list[Run]]) -> None:
    looker.page.goto(ui.search)
    for run in runs["trial"]:
        expect(looker.page.get_by_text(run.info.run_name, exact=True).first).to_be_visible()
    expect(looker.page.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    looker.page.get_by_placeholder("Search metric charts").fill("val/mAP|val/CF1|val/macro_AUROC")
    expect(looker.page.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    looker.picture("mlflow_runs")
    assert not looker.errors


def test_a_comparison_of_the_best_trials(looker: Looker, ui: Ui, runs: dict[str, list[Run]]) -> None:
    some = runs["trial"][:3]
    ids, experiments = (json.dumps(words) for words in ([r.info.run_id for r in some], [some[0].info.experiment_id]))
    looker.page.goto(f"{ui.base}/#/compare-runs?runs={quote(ids)}&experiments={quote(experiments)}&{QUERY}")
    expect(looker.page.get_by_text("Parallel Coordinates Plot").first).to_be_visible()
    for run in some:
        expect(looker.page.get_by_text(run.info.run_name).first).to_be_visible()
    assert not looker.errors


def test_a_trial_shows_its_data_and_its_outcome(looker: Looker, ui: Ui, runs: dict[str, list[Run]]) -> None:
    best = runs["trial"][0]
    looker.page.goto(f"{ui.base}/#/experiments/{best.info.experiment_id}/runs/{best.info.run_id}?{QUERY}")
    expect(looker.page.get_by_text("kmcl.outcome").first).to_be_visible()
    expect(looker.page.get_by_text("val/mAP", exact=True).first).to_be_visible()
    (data,) = best.inputs.dataset_inputs
    expect(looker.page.get_by_text(f"{data.dataset.name} ({data.dataset.digest[:8]}").first).to_be_visible()
    assert not looker.errors


@pytest.mark.parametrize("name", ["precision_recall", "average_precision", "cooccurrence", "mistakes"])
def test_a_trials_pictures_are_seen(looker: Looker, ui: Ui, runs: dict[str, list[Run]], name: str) -> None:
    best = runs["trial"][0]
    run = f"{ui.base}/#/experiments/{best.info.experiment_id}/runs/{best.info.run_id}"
    looker.page.goto(f"{run}/artifacts/figures/{name}.png?{QUERY}")
    picture = looker.page.locator("img[src^='blob:']").first
    expect(picture).to_be_visible()
    # Drawn, rather than a sign that it could not be loaded.
    looker.page.wait_for_function("image => image.naturalWidth > 300", arg=picture.element_handle())
    if name in ("average_precision", "mistakes"):
        looker.picture(f"mlflow_{name}", "img[src^='blob:']")
    assert not looker.errors


def test_a_trials_classes_are_a_table(looker: Looker, ui: Ui, runs: dict[str, list[Run]]) -> None:
    best = runs["trial"][0]
    run = f"{ui.base}/#/experiments/{best.info.experiment_id}/runs/{best.info.run_id}"
    looker.page.goto(f"{run}/artifacts/figures/classes.json?{QUERY}")
    for header in ("class", "positives", "AP", "AP of the baseline"):
        expect(looker.page.get_by_text(header, exact=True).first).to_be_visible()
    assert not looker.errors


def test_a_trials_machine_is_seen_under_system_metrics(looker: Looker, ui: Ui, runs: dict[str, list[Run]]) -> None:
    best = runs["trial"][0]
    run = f"{ui.base}/#/experiments/{best.info.experiment_id}/runs/{best.info.run_id}"
    looker.page.goto(f"{run}/system-metrics?{QUERY}")
    expect(looker.page.get_by_text("images_per_second").first).to_be_visible()
    assert not looker.errors


def test_the_page_about_the_data_is_read_within_mlflow(looker: Looker, ui: Ui, runs: dict[str, list[Run]]) -> None:
    (search,) = runs["search"]
    (data,) = search.inputs.dataset_inputs
    run = f"{ui.base}/#/experiments/{search.info.experiment_id}/runs/{search.info.run_id}"
    looker.page.goto(f"{run}/artifacts/dataset/{data.dataset.name}.html?{QUERY}")
    frame = looker.page.frame_locator("iframe").first
    expect(frame.get_by_text("Worth knowing")).to_be_visible()
    expect(frame.locator("svg").first).to_be_attached()
    assert not looker.errors


def test_the_report_is_read_within_mlflow(looker: Looker, ui: Ui, store: Path, runs: dict[str, list[Run]]) -> None:
    (search,) = runs["search"]
    client = MlflowClient(f"sqlite:///{store.absolute()}/mlflow.db")
    page = Path(client.download_artifacts(search.info.run_id, REPORT_FILE)).read_text()
    # The titles are plain text. Which of them a report must have is tested with the reports themselves.
    titles = [html.unescape(title) for title in re.findall("<h2>([^<]+)</h2>", page)]
    assert {"What to do next", "Trials", "Timeline"} <= set(titles)
    looker.page.goto(ui.report)
    frame = looker.page.frame_locator("iframe").first
    expect(frame.get_by_text("What to do next")).to_be_visible()
    expect(frame.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    # Of few trials not every figure can be drawn, which its section says.
    expect(frame.locator("h2")).to_have_text(titles)
    looker.picture("mlflow_report", "iframe")
    assert not looker.errors


def test_the_model_has_its_alias_and_its_description(looker: Looker, ui: Ui) -> None:
    looker.page.goto(ui.model)
    expect(looker.page.get_by_text("champion").first).to_be_visible()
    expect(looker.page.get_by_text("Best multilabel classifiers of the search").first).to_be_visible()
    assert not looker.errors
