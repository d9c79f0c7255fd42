"""MLflow refuses a request in the middle of a command: something was deleted there in the meantime."""

import errno
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_STATE, RESOURCE_DOES_NOT_EXIST

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import open_store
from kmcl_platform.errors import RegistryError, StoreError
from kmcl_platform.registry.model.registry_errors import registry_errors
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome
from tests.support.command_line import kmcl

FILE = b"""
name: m
base: {num_epochs: 1}
space: {optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}}
budget: {trials: 1}
"""
FIRST_REQUEST = {
    "promote m": "kmcl_platform.registry.promotion.promote.find_alias",
    "rollback m": "kmcl_platform.registry.promotion.alias_moves.read_history",
    "history m": "kmcl_platform.registry.promotion.alias_moves.read_history",
    "predict models:/m/1 image.png": "kmcl_platform.registry.model.load.find_version",
}
"""The first request about the registry of each command."""


def refuse(*_: object) -> None:
    raise MlflowException("Run with id=7\nnot found", RESOURCE_DOES_NOT_EXIST)


@pytest.fixture
def store(prepared_store: Path) -> Path:
    """A store with a search whose only trial has ended."""
    runs = SearchRuns.open(open_store(prepared_store), parse_search_file(FILE, "m.yaml"), FILE, "m.yaml")
    runs.trials.begin(0, parse_search_file(FILE, "m.yaml").base, baseline=True)
    runs.trials.log_epochs(0, [(EpochReport(epoch=1, metrics={"val/mAP": 0.5}, seconds=1.0), None)])
    runs.trials.end(0, TrialOutcome.COMPLETED, objective=0.5)
    runs.end("finished")
    return prepared_store


def test_every_command_is_one_line(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.png").write_bytes(b"")
    for words, request in FIRST_REQUEST.items():
        with monkeypatch.context() as patch:
            patch.setattr(request, refuse)
            answer = kmcl(*words.split(), store=store)
        assert answer.exit_code == 2, words
        assert "MLflow refused a request (Run with id=7 not found): " in answer.stderr, words
        assert "; valid: the same command again" in answer.stderr
        assert len(answer.stderr.splitlines()) == 1


def test_only_what_the_registry_or_the_store_causes_is_one_line(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(RegistryError, match="model 'm': MLflow refused a request"), registry_errors(store, "m"):
        raise MlflowException("the version is in another state", INVALID_STATE)
    with pytest.raises(StoreError, match="no space left in"), registry_errors(store, "m"):
        raise OSError(errno.ENOSPC, "No space left on device")
    for error in (MlflowException("a bug", INTERNAL_ERROR), ValueError("of our own")):
        with pytest.raises(type(error)) as caught, registry_errors(store, "m"):
            raise error
        assert caught.value is error
