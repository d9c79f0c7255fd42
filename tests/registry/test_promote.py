"""Promotion: a first champion, the same again, a candidate that only looked better, one that is better."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from kmcl_platform.cli import main
from kmcl_platform.config.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.data.digits import build_digits
from kmcl_platform.data.manifest_file import read_manifest, write_manifest
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs import SearchRuns, TrialOutcome
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers import Workers

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
    first: Result
    again: Result
    looked_better: Result
    is_better: Result
    folder: Path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough images that four epochs are clearly better than none, and twelve than four."""
    path = tmp_path_factory.mktemp("data") / "digits.parquet"
    write_manifest(build_digits(num_train=800, num_val=32, num_test=200), path)
    return path


@pytest.fixture(scope="module")
def story(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    store = open_store(tmp_path_factory.mktemp("registry") / "store")
    store.root.mkdir()
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
    finally:
        os.chdir(before)
    return Story(store, first, again, looked_better, is_better, folder)


def promote(store: Store) -> Result:
    return CliRunner().invoke(main, ["promote", "small", "--store", str(store.root)], catch_exceptions=False)


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
    runs.begin_trial(number, config, baseline=number == 0)
    for result in reports[-2:]:
        place = result.epoch - epochs + 2
        runs.log_epoch(number, result.model_copy(update={"epoch": place, "metrics": {"val/mAP": claimed}}))
    runs.end_trial(number, TrialOutcome("completed"), objective=claimed)


def test_a_first_champion_needs_no_rival(story: Story) -> None:
    assert story.first.exit_code == 0
    assert "promoted:" in story.first.output
    assert "models:/small@champion (version 1)" in story.first.output


def test_a_second_promotion_of_the_same_trial_makes_no_version(story: Story) -> None:
    assert story.again.exit_code == 0
    assert "already the champion" in story.again.output


def test_a_candidate_that_only_looked_better_is_refused(story: Story) -> None:
    assert story.looked_better.exit_code == 3
    assert "FAILED: test/mAP" in story.looked_better.output
    assert "trial 1 is not promoted; version 1 stays the champion" in story.looked_better.output


def test_a_better_candidate_takes_the_alias(story: Story) -> None:
    assert story.is_better.exit_code == 0, story.is_better.output
    assert "gate passed: test/mAP" in story.is_better.output
    client = connect(story.store)
    champion = client.get_model_version_by_alias("small", "champion")
    assert (int(champion.version), champion.tags["kmcl.number"]) == (2, "2")
    assert len(client.search_model_versions("name = 'small'")) == 2


def test_promotion_writes_nothing_where_it_is_run(story: Story) -> None:
    assert list(story.folder.iterdir()) == []
