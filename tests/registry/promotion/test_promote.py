"""Promotion: a first champion, the same again, a candidate that only looked better, one that is better."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

from kmcl_platform.config.decision import Decision
from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.registry.calibration.fit_decision_rule import fit_rule
from kmcl_platform.registry.model.predictor import read_predictor
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers.distributed import Workers
from tests.support.command_line import Answer, kmcl

pytestmark = pytest.mark.slow

SEARCH = """
name: small
base:
  data: {{source: {source}, image_size: 32, batch_size: 32}}
  model: {{backbone: test_resnet}}
  loss: {{objective: bce}}
  optim: {{lr: 1e-7, ema_decay: 0}}
  num_epochs: 2
space:
  optim.lr: {{kind: loguniform, low: 1e-8, high: 0.1}}
budget: {{trials: 3}}
"""


@dataclass
class Story:
    """The answers of `kmcl promote` after each trial, and what they left."""

    store: Store
    first: Answer
    again: Answer
    looked_better: Answer
    is_better: Answer
    logged_when_refused: int
    refused_again: Answer
    forced: Answer
    back: Answer
    folder: Path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough images that four epochs are clearly better than none, and twelve than four."""
    path = tmp_path_factory.mktemp("data") / "digits.parquet"
    write_manifest(build_digits(num_train=800, num_val=32, num_test=200), path)
    return path


@pytest.fixture(scope="module")
def story(manifest: Path, initialised_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    store = open_store(tmp_path_factory.mktemp("registry") / "store")
    store.root.mkdir()
    shutil.copy(initialised_database, store.root / "mlflow.db")
    content = SEARCH.format(source=manifest).encode()
    file = parse_search_file(content, "small.yaml")
    runs = SearchRuns.open(store, file, content, "small.yaml")
    folder = tmp_path_factory.mktemp("empty")
    before = Path.cwd()
    os.chdir(folder)
    try:
        train(store, file, runs, manifest, number=0, lr=1e-2, claimed=0.5, epochs=4)
        first, again = promote(store), promote(store)
        train(store, file, runs, manifest, number=1, lr=1e-7, claimed=0.9)
        looked_better = promote(store)
        train(store, file, runs, manifest, number=2, lr=1e-2, claimed=0.95, epochs=12)
        is_better = promote(store)
        train(store, file, runs, manifest, number=3, lr=1e-7, claimed=0.99)
        promote(store)
        logged = len(connect(store).search_logged_models([runs.experiment_id]))
        with pytest.MonkeyPatch.context() as patch:
            # What was scored once is not scored again.
            patch.setattr("kmcl_platform.registry.promotion.sealed_test_split.score_images", None)
            refused_again = promote(store)
            forced = promote(store, "--force", "the others are worse on our own images")
        back = kmcl("rollback", "small", "--reason", "it was not", store=store.root)
    finally:
        os.chdir(before)
    return Story(store, first, again, looked_better, is_better, logged, refused_again, forced, back, folder)


def promote(store: Store, *options: str) -> Answer:
    return kmcl("promote", "small", *options, store=store.root)


def train(
    store: Store,
    file: SearchFile,
    runs: SearchRuns,
    manifest: Path,
    *,
    number: int,
    lr: float,
    claimed: float,
    epochs: int = 2,
) -> None:
    """A trial with a real checkpoint, recorded with the validation mAP that it is to claim."""
    config = file.base.with_values({"optim.lr": lr, "num_epochs": epochs})
    reports: list[EpochReport] = []

    def report(result: EpochReport) -> bool:
        reports.append(result)
        return True

    fit(
        config,
        read_manifest(manifest),
        checkpoints=store.trial_checkpoints("small", number),
        report=report,
        workers=Workers(0, 1, torch.device("cpu")),
    )
    runs.trials.begin(number, config, baseline=number == 0)
    for result in reports[-2:]:
        place = result.epoch - epochs + 2
        runs.trials.log_epochs(
            number, [(result.model_copy(update={"epoch": place, "metrics": {"val/mAP": claimed}}), None)]
        )
    runs.trials.end(number, TrialOutcome("completed"), objective=claimed)


def test_a_first_champion_needs_no_rival(story: Story) -> None:
    assert story.first.exit_code == 0
    assert "promoted:" in story.first.output
    assert "models:/small@champion (version 1)" in story.first.output


def test_a_second_promotion_of_the_same_trial_makes_no_version(story: Story) -> None:
    assert story.again.exit_code == 0
    assert "already the champion" in story.again.output


def test_a_candidate_that_only_looked_better_is_refused(story: Story) -> None:
    assert story.looked_better.exit_code == 3
    assert "gate FAILED: mAP against the champion -0." in story.looked_better.output
    assert "gate passed: reload parity " in story.looked_better.output
    assert "trial 1 is not promoted; version 1 stays the champion" in story.looked_better.output


def test_a_better_candidate_takes_the_alias(story: Story) -> None:
    assert story.is_better.exit_code == 0, story.is_better.output
    assert "gate passed: mAP against the champion +0." in story.is_better.output
    version = connect(story.store).get_model_version("small", "2")
    assert version.tags["kmcl.number"] == "2"


def test_what_is_refused_leaves_nothing_in_the_registry(story: Story) -> None:
    assert story.logged_when_refused == 2


def test_the_test_split_is_opened_once_for_each_model(story: Story) -> None:
    assert "the test split of this data was opened for 1 model\n" in story.first.output
    assert "opened for 2 models" in story.looked_better.output
    assert "opened for 3 models" in story.is_better.output
    assert story.refused_again.exit_code == 3
    assert "opened for 4 models" in story.refused_again.output
    assert "opened for 4 models" in story.forced.output


def test_force_needs_a_reason_which_is_kept(story: Story) -> None:
    assert story.forced.exit_code == 0, story.forced.output
    assert "gate FAILED: mAP against the champion" in story.forced.output
    assert "(version 3)" in story.forced.output
    version = connect(story.store).get_model_version("small", "3")
    assert "**Promoted by force**: the others are worse on our own images" in version.description
    assert promote(story.store, "--force").exit_code == 2


def test_rollback_restores_the_former_champion(story: Story) -> None:
    assert story.back.exit_code == 0
    assert story.back.output == "model small: version 2 is the champion again, version 3 is `previous`\n"
    client = connect(story.store)
    aliases = {name: str(client.get_model_version_by_alias("small", name).version) for name in ("champion", "previous")}
    assert aliases == {"champion": "2", "previous": "3"}


def test_history_tells_every_move(story: Story) -> None:
    moves = json.loads(kmcl("history", "small", "--json", store=story.store.root).output)
    assert [(one["kind"], one["before"], one["after"]) for one in moves] == [
        ("promote", "", "1"), ("promote", "1", "2"), ("force", "2", "3"), ("rollback", "3", "2")
    ]  # fmt: skip
    assert moves[2]["reason"].endswith(": the others are worse on our own images")
    assert moves[3]["reason"] == "it was not"
    shown = kmcl("history", "small", store=story.store.root).output
    assert len(shown.splitlines()) == 5
    assert "trial 2, test/mAP 0." in shown


def test_a_version_says_where_it_comes_from(story: Story, manifest: Path) -> None:
    version = connect(story.store).get_model_version("small", "2")
    tags = version.tags
    assert (tags["kmcl.search"], tags["kmcl.number"], tags["kmcl.against"]) == ("small", "2", "1")
    assert tags["kmcl.data"] == read_manifest(manifest).content_hash
    assert len(tags["kmcl.git_commit"]) == 40
    gates = {gate["gate"]: gate for gate in json.loads(tags["kmcl.gates"])}
    assert gates["reload parity"]["value"] <= 1e-5
    assert gates["mAP against the champion"]["passed"] is True
    assert "| mAP | " in version.description
    assert "**Classes** (10): 0, 1, 2" in version.description


def test_a_version_decides_by_what_validation_said(story: Story, manifest: Path) -> None:
    (description,) = story.store.artifacts.rglob(f"{champion_model(story)}/artifacts/artifacts/model/model.json")
    rule = json.loads(description.read_text())["decision"]
    data = read_manifest(manifest)
    predictor = read_predictor(description.parent, torch.device("cpu"))
    scores_NK = predictor.predict(data.split("val")["bytes"].to_pylist()).scores_NK
    expected = fit_rule(scores_NK, data.targets("val"), Decision()).rule
    assert rule["temperature"] == pytest.approx(expected.temperature, rel=1e-3)
    assert rule["temperature"] != 1
    assert rule["thresholds"] == pytest.approx(expected.thresholds, abs=1e-4)
    assert (rule["objective"], rule["floor"]) == ("f1", None)
    assert rule["shift"] == pytest.approx(expected.shift, rel=1e-3)
    card = connect(story.store).get_model_version("small", "2").description
    assert (
        f"temperature {rule['temperature']:.3g}, shift {rule['shift']:.3g}; expected calibration error on validation 0."
        in card
    )


def test_bounds_come_from_the_file_that_is_given(story: Story, manifest: Path, tmp_path: Path) -> None:
    bounds = "promotion: {max_size_mb: 0.001, max_latency_ms: 1e-6, max_calibration_error: 1e-9}\n"
    file = tmp_path / "strict.yaml"
    file.write_text(SEARCH.format(source=manifest) + bounds)
    refused = promote(story.store, "--file", str(file))
    assert refused.exit_code == 3
    for gate in ("size (MB)", "latency (ms)", "calibration error"):
        assert f"gate FAILED: {gate} " in refused.output
    assert "version 2 stays the champion" in refused.output
    file.write_text(SEARCH.format(source=manifest) + "promotion: {margin: -1}\n")
    wrong = promote(story.store, "--file", str(file))
    assert wrong.exit_code == 2
    assert "promotion.margin: got -1" in wrong.stderr


def test_weights_that_were_changed_are_refused(story: Story, tmp_path: Path) -> None:
    (weights,) = story.store.artifacts.rglob(f"{champion_model(story)}/artifacts/artifacts/model/model.safetensors")
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        image = tmp_path / "image.png"
        Image.new("RGB", (40, 40)).save(image)
        for answer in (
            kmcl("predict", "models:/small@champion", str(image), store=story.store.root),
            promote(story.store),
        ):
            assert answer.exit_code == 2
            assert answer.stderr.startswith(f"kmcl: {weights}: got SHA-256 ")
            assert len(answer.stderr.splitlines()) == 1
    finally:
        weights.write_bytes(before)


def champion_model(story: Story) -> str:
    source = connect(story.store).get_model_version_by_alias("small", "champion").source
    return str(source).removeprefix("models:/")


def test_promotion_writes_nothing_where_it_is_run(story: Story) -> None:
    assert list(story.folder.iterdir()) == []
