"""A store in which seven promotions have happened, with a rollback at the end; made once for all tests of a session."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow.pyfunc
import pandas as pd
import pytest
import torch

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.config.trial_config import Scalar
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.registry.model.schema import RAW_SCORES
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers.distributed import Workers
from tests.support.command_line import Answer, kmcl

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
baselines: []
budget: {{trials: 3}}
"""


@dataclass
class Story:
    """The answers of `kmcl promote` after each trial, and the store afterwards.

    Version 2 is the champion and version 3 the previous one. Trial 3, the best by its claim, is version 3.
    """

    folder: Path
    answers: dict[str, Answer]
    logged_when_refused: int

    @property
    def store(self) -> Store:
        """Tests that change it take a copy."""
        return open_store(self.folder / "store")

    @property
    def manifest(self) -> Path:
        return self.folder / "digits.parquet"

    @property
    def empty(self) -> Path:
        """The folder in which the commands ran."""
        return self.folder / "empty"


def make_story(folder: Path, initialised_database: Path) -> None:
    """Train four trials and promote after each; the results of the commands go to `answers.json`."""
    store = open_store(folder / "store")
    store.root.mkdir()
    shutil.copy(initialised_database, store.root / "mlflow.db")
    manifest = folder / "digits.parquet"
    # Enough images that four epochs are clearly better than none, and eight than four.
    write_manifest(build_digits(num_train=400, num_val=32, num_test=200), manifest)
    content = SEARCH.format(source=manifest).encode()
    file = parse_search_file(content, "small.yaml")
    runs = SearchRuns.open(store, file, content, "small.yaml")
    (folder / "empty").mkdir()
    before = Path.cwd()
    os.chdir(folder / "empty")
    answers = {}
    try:
        train(store, file, runs, manifest, number=0, values={"optim.lr": 2e-2, "num_epochs": 4}, claimed=0.5)
        answers["first"] = promote(store, new_process=True)
        answers["again"] = promote(store)
        train(store, file, runs, manifest, number=1, values={"optim.lr": 1e-7}, claimed=0.9)
        answers["looked_better"] = promote(store)
        train(store, file, runs, manifest, number=2, values={"optim.lr": 2e-2, "num_epochs": 8}, claimed=0.95)
        answers["is_better"] = promote(store, new_process=True)
        values = {"optim.lr": 1e-7, "loss.objective": "kmcl"}
        train(store, file, runs, manifest, number=3, values=values, claimed=0.99)
        promote(store)
        logged = len(connect(store).search_logged_models([runs.experiment_id]))
        with pytest.MonkeyPatch.context() as patch:
            # A split that was scored once is not scored again.
            patch.setattr("kmcl_platform.registry.promotion.sealed_test_split.score_images", None)
            answers["refused_again"] = promote(store)
            answers["forced"] = promote(store, "--force", "the others are worse on our own images")
        answers["back"] = kmcl("rollback", "small", "--reason", "it was not", store=store.root)
    finally:
        os.chdir(before)
    document = {"logged": logged, "answers": {name: asdict(answer) for name, answer in answers.items()}}
    (folder / "answers.json").write_text(json.dumps(document))


def read_story(folder: Path) -> Story:
    document = json.loads((folder / "answers.json").read_text())
    return Story(folder, {name: Answer(**answer) for name, answer in document["answers"].items()}, document["logged"])


def promote(store: Store, *options: str, new_process: bool = False) -> Answer:
    """`kmcl promote small`.

    Args:
        store: of the search.
        options: of the command.
        new_process: load the logged model in a new process, as users have it. Otherwise it is loaded in this process,
            from the same files and through MLflow too, which saves the import of torch and MLflow.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not new_process:
            patch.setattr("kmcl_platform.registry.promotion.reload_parity._load_and_predict", load_and_predict_here)
        return kmcl("promote", "small", *options, store=store.root)


def load_and_predict_here(package: Path, given: Path, answer: Path, folder: Path) -> None:
    model = mlflow.pyfunc.load_model(str(package))
    model.predict(pd.read_parquet(given), params={RAW_SCORES: True}).to_parquet(answer)


def train(
    store: Store,
    file: SearchFile,
    runs: SearchRuns,
    manifest: Path,
    *,
    number: int,
    values: dict[str, Scalar],
    claimed: float,
) -> None:
    """A trial with a real checkpoint, recorded as one of full length with the validation mAP that it is to claim."""
    config = file.base.with_values(values)
    epochs = config.num_epochs
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
        features=store.features,
    )
    runs.trials.begin(number, config, baseline=number == 0)
    for result in reports[-2:]:
        place = result.epoch - epochs + 2
        metrics = {"epoch": place, "metrics": {"val/mAP": claimed}}
        runs.trials.log_epochs(number, [(result.model_copy(update=metrics), None)])
    runs.trials.end(number, TrialOutcome("completed"), objective=claimed)
