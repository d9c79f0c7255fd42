"""A real group of Ray Train workers: a trial's numbers depend neither on the group nor on its earlier trials."""

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
from safetensors.torch import save_file

from kmcl_platform.config.search_parts import Resources
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.search.cluster.ray_session import start_ray, stop_ray
from kmcl_platform.search.run.assignment import Message
from kmcl_platform.search.run.on_ray.worker_group import WorkerGroup
from tests.support.session import restore_environment

pytestmark = [pytest.mark.cluster, pytest.mark.takes(90)]

NUM_EPOCHS = 3


@pytest.fixture(scope="module")
def group() -> Iterator[WorkerGroup]:
    # The group's thread imports these otherwise, while pytest prepares the first test: once in four runs pytest then met a
    # dictionary that changed while it was read.
    import ray.data
    import ray.train.torch  # noqa: F401

    before = dict(os.environ)
    # As a search does: only a Ray that knows its own dashboard replaces killed workers while another Ray runs.
    start_ray(None)
    group = WorkerGroup(Resources(workers_per_trial=2))
    yield group
    group.close()
    stop_ray()
    restore_environment(before)


@pytest.fixture
def train(group: WorkerGroup, small_manifest: Path, tmp_path: Path) -> Callable[..., list[Message]]:
    shutil.copy(small_manifest, tmp_path / "digits.parquet")

    def run(
        name: str,
        on_epoch: Callable[[Message], None] = lambda _: None,
        checkpoint_minutes: float | None = None,
        **values: Any,
    ) -> list[Message]:
        config = TrialConfig().with_values(
            {
                # Relative to the folder of the search, which is not the working directory of this process.
                "data.source": "digits.parquet",
                "data.image_size": 32,
                "data.batch_size": 32,
                "model.backbone": "test_byobnet",
                "optim.lr": 5e-3,
                "num_epochs": NUM_EPOCHS,
                **{path.replace("__", "."): value for path, value in values.items()},
            }
        )
        folder = str(tmp_path / name)
        group.begin(
            {
                "number": 0,
                "config": config.model_dump(),
                "checkpoints": folder,
                "data_dir": str(tmp_path),
                "features_dir": str(tmp_path / "features"),
                "working_dir": str(tmp_path),
                "checkpoint_minutes": checkpoint_minutes,
            }
        )
        messages: list[Message] = []
        while not messages or ("report" in messages[-1] and messages[-1]["report"]["epoch"] < config.num_epochs):
            messages.append(group.next_message())
            on_epoch(messages[-1])
        return messages

    return run


def numbers(messages: list[Message]) -> list[dict[str, float]]:
    assert all("report" in message for message in messages), messages
    return [message["report"]["metrics"] for message in messages]


def test_first_and_third_trial_of_a_group_agree_to_the_last_digit(train: Callable[..., list[Message]]) -> None:
    first = train("first")
    between = train("between", seed=7, model__kernels_per_class=3)
    third = train("third")
    assert numbers(first) == numbers(third)
    assert numbers(first) != numbers(between)


def test_a_killed_worker_changes_no_number(train: Callable[..., list[Message]]) -> None:
    undisturbed = train("undisturbed")
    killed = []

    def kill_once(message: Message) -> None:
        if message["report"]["epoch"] == 1 and not killed:
            killed.append(message["report"]["process_id"])
            os.kill(killed[0], signal.SIGKILL)

    disturbed = train("disturbed", kill_once)
    assert numbers(disturbed) == numbers(undisturbed)
    assert disturbed[-1]["report"]["resumed_from"] >= 1
    assert disturbed[-1]["report"]["process_id"] != killed[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["told to end", "killed"])
def test_a_worker_that_goes_in_the_middle_of_an_epoch_costs_no_epoch(
    number: signal.Signals, train: Callable[..., list[Message]], tmp_path: Path
) -> None:
    # 96 steps in an epoch. Two workers write a checkpoint after step 50 at the earliest.
    values = {"data__batch_size": 2, "data__image_size": 64, "num_epochs": 6}
    undisturbed = train("undisturbed", **values)
    seen: set[str] = set()
    gone: list[int] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            parts = {path.name for path in (tmp_path / "disturbed").glob("part-*")}
            # Without notice, the worker goes when it has just written one.
            if parts - seen and number == signal.SIGKILL and gone == [0]:
                os.kill(process[0], number)
                gone[0] = process[0]
            seen.update(parts)

    process: list[int] = []

    def begin_to_end(message: Message) -> None:
        process.append(message["report"]["process_id"])
        if len(process) == 1:
            gone.append(process[0] if number == signal.SIGTERM else 0)
            if number == signal.SIGTERM:
                os.kill(process[0], number)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        minutes = None if number == signal.SIGTERM else 1e-6
        disturbed = train("disturbed", begin_to_end, checkpoint_minutes=minutes, **values)
    finally:
        ended.set()
        watcher.join()
    assert numbers(disturbed) == numbers(undisturbed)
    assert gone[0] == process[0] != process[-1]
    assert {name[-6:] for name in seen} == {"000050"}
    assert len(seen) == (1 if number == signal.SIGTERM else 6)


def test_relative_paths_begin_in_the_folder_of_the_search(train: Callable[..., list[Message]], tmp_path: Path) -> None:
    save_file(timm.create_model("test_byobnet").state_dict(), tmp_path / "weights.safetensors")
    assert len(train("weights", model__pretrained_file="weights.safetensors", num_epochs=1)) == 1
    (failed,) = train("missing", model__pretrained_file="missing.safetensors")
    assert "missing.safetensors" in failed["failure"]


def test_a_failing_trial_gives_its_reason_and_the_next_one_runs(train: Callable[..., list[Message]]) -> None:
    assert train("unknown", model__backbone="resnet_50")[0]["failure"].startswith("model.backbone: ")
    assert len(train("after")) == NUM_EPOCHS
