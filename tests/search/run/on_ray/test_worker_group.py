"""The reason of a failed trial, which the workers send to the search."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kmcl_platform.config.search_parts import Resources
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.loading.own_features import digest_own_features
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.errors import StoreError
from kmcl_platform.search.run import trial_training
from kmcl_platform.search.run.on_ray import worker_group
from kmcl_platform.training.workers.distributed import Workers


class Mailbox:
    """Keeps the messages of the workers in this process."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def __getattr__(self, kind: str) -> Any:
        return SimpleNamespace(remote=lambda *words: self.sent.append((kind, *words)))


def train(mailbox: Mailbox, assignment: Any, workers: Workers) -> None:
    trial_training.train_assignment(assignment, workers, worker_group._MailboxChannel(mailbox, 0, assignment))


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (ValueError, ("fail", 0, "ValueError: WORDS", False)),
        (OSError, ("note_error", "OSError: WORDS")),
        (MemoryError, ("fail", 0, "out of memory: MemoryError: WORDS", True)),
    ],
)
def test_the_error_of_a_library_is_sent_without_the_password_in_it(
    kind: type[Exception], sent: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise kind("cannot read\nhttp://me:s3cr3t@host/x.parquet")

    monkeypatch.setattr(trial_training, "open_manifest", refuse)
    monkeypatch.setattr(worker_group.ray, "get", lambda answer: answer)
    monkeypatch.chdir(tmp_path)
    mailbox = Mailbox()
    assignment: Any = {
        "number": 0,
        "config": TrialConfig().model_dump(),
        "checkpoints": str(tmp_path),
        "data_dir": str(tmp_path),
        "features_dir": str(tmp_path / "features"),
        "working_dir": str(tmp_path),
    }
    with pytest.raises(kind):
        train(mailbox, assignment, Workers(0, 1, torch.device("cpu")))
    shown = "cannot read http://me:***@host/x.parquet"
    assert mailbox.sent == [tuple(w.replace("WORDS", shown) if isinstance(w, str) else w for w in sent)]


def test_a_manifest_that_is_replaced_during_a_search_stops_it_and_its_trial_stays_open(
    small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_group.ray, "get", lambda answer: answer)
    monkeypatch.chdir(tmp_path)
    mailbox = Mailbox()
    assignment: Any = {
        "number": 0,
        "config": TrialConfig().with_values({"data.source": str(small_manifest)}).model_dump(),
        "checkpoints": str(tmp_path),
        "data_dir": str(tmp_path),
        "working_dir": str(tmp_path),
        "content_hash": "a" * 64,
    }
    with pytest.raises(StoreError, match="was replaced while the search ran"):
        train(mailbox, assignment, Workers(0, 1, torch.device("cpu")))
    assert [kind for kind, *_ in mailbox.sent] == ["halt"]


def test_own_features_that_are_replaced_during_a_search_stop_it(
    small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_group.ray, "get", lambda answer: answer)
    monkeypatch.chdir(tmp_path)
    np.save("own.npy", np.ones((read_manifest(small_manifest).table.num_rows, 3), np.float32))
    values = {"data.source": str(small_manifest), "data.features": "own.npy", "model.backbone_mode": "frozen"}
    assignment: Any = {
        "number": 0,
        "config": TrialConfig().with_values({**values, "num_epochs": 1}).model_dump(),
        "checkpoints": str(tmp_path / "trial"),
        "data_dir": str(tmp_path),
        "features_dir": str(tmp_path / "features"),
        "working_dir": str(tmp_path),
        "features_hash": digest_own_features("own.npy"),
    }
    alone = Workers(0, 1, torch.device("cpu"))
    mailbox = Mailbox()
    train(mailbox, assignment, alone)
    assert [kind for kind, *_ in mailbox.sent] == ["report"]
    np.save("own.npy", np.zeros_like(np.load("own.npy")))
    with pytest.raises(StoreError, match="^data.features: 'own.npy' was replaced while the search ran; valid: restore"):
        train(mailbox, assignment, alone)
    assert [kind for kind, *_ in mailbox.sent] == ["report", "halt"]


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The channel of a trial of 9 epochs that can be stopped after epoch 4, with its mailbox and a clock."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(worker_group, "time", clock)
    monkeypatch.setattr(worker_group.ray, "get", lambda answer: answer)
    mailbox = Mailbox()
    assignment: Any = {"config": {"num_epochs": 9}, "stopping_epochs": [4]}
    return worker_group._MailboxChannel(mailbox, 0, assignment), mailbox, clock


def test_short_epochs_are_sent_together_but_for_those_with_a_decision(channel: Any) -> None:
    own, mailbox, clock = channel
    for epoch in range(1, 10):
        clock.now += 0.2
        own.report({"epoch": epoch})
    sent = [[report["epoch"] for report in reports] for _, _, reports in mailbox.sent]
    assert sent == [[1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_long_epochs_are_sent_one_by_one(channel: Any) -> None:
    own, mailbox, clock = channel
    for epoch in (1, 2, 3):
        clock.now += 1.5
        own.report({"epoch": epoch})
    assert [len(reports) for _, _, reports in mailbox.sent] == [1, 1, 1]


@pytest.mark.parametrize("end", [("diverge",), ("fail", False), ("refuse",)])
def test_what_waits_is_sent_before_the_end_of_a_trial(end: tuple[Any, ...], channel: Any) -> None:
    own, mailbox, _ = channel
    assert own.report({"epoch": 1})
    getattr(own, end[0])("at step 3")
    assert mailbox.sent == [("report", 0, [{"epoch": 1}]), (end[0], 0, "at step 3", *end[1:])]


@pytest.mark.parametrize("wanted", [None, "A100"])
def test_workers_are_placed_on_nodes_with_the_wanted_type_of_gpu(
    wanted: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    class Trainer:
        def __init__(self, _: object, **options: Any) -> None:
            given.update(options)

        def fit(self) -> None: ...

    monkeypatch.setattr("ray.train.torch.TorchTrainer", Trainer)
    group = worker_group.WorkerGroup.__new__(worker_group.WorkerGroup)
    group._mailbox = None
    group._serve(Resources(gpus_per_worker=1, accelerator_type=wanted), str(tmp_path))
    # What Ray Train asks for each worker: Ray gives this resource to the nodes with such a GPU alone.
    asked = given["scaling_config"]._resources_per_worker_not_none
    assert [name for name in asked if name.startswith("accelerator_type:")] == (
        [f"accelerator_type:{wanted}"] if wanted else []
    )
