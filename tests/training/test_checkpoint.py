"""A new checkpoint is complete on the disk before the old one is removed, also if the process is killed."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import StoreError
from kmcl_platform.training.checkpoints.checkpoint import (
    TrialProgress,
    load_weights,
    read_optimizer_state,
    read_progress,
    write_checkpoint,
)
from kmcl_platform.training.checkpoints.checkpoint_folder import find_checkpoint

FILES = ("average.safetensors", "model.safetensors", "optimizer.pt", "trial.json")
CHANGES = ("open", "fsync", "rename", "mkdir", "rmdir", "unlink")
"""Calls of the operating system that make, move or remove a file or folder, or wait for the disk."""


def write(folder: Path, epoch: int) -> Path:
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, epoch)
    reports = tuple(EpochReport(epoch=number, metrics={}, seconds=0) for number in range(1, epoch + 1))
    progress = TrialProgress(TrialConfig(), ("a", "b"), reports)
    return write_checkpoint(folder, progress, model=model, average=model, optimizer_state={"epoch": epoch})


def check_whole(checkpoint: Path, epoch: int) -> None:
    """Every file of a checkpoint can be read and is of its epoch."""
    model, average = nn.Linear(2, 2), nn.Linear(2, 2)
    load_weights(checkpoint, model=model, average=average)
    assert model.weight[0, 0] == average.weight[0, 0] == epoch
    assert read_optimizer_state(checkpoint, torch.device("cpu")) == {"epoch": epoch}
    assert read_progress(checkpoint).epoch == epoch


def watch_calls(patch: pytest.MonkeyPatch, then: Callable[[str, str], None]) -> None:
    """Let `then(call, path)` run before each of `CHANGES`; the real call follows."""
    for name in CHANGES:
        real = getattr(os, name)

        def call(place, *arguments, _name=name, _real=real, **options):  # type: ignore[no-untyped-def]
            path = str(_of_descriptor(place) if isinstance(place, int) else Path(place))
            # shutil.rmtree names files relative to a folder that it has opened.
            if options.get("dir_fd") is not None:
                path = f"{_of_descriptor(options['dir_fd'])}/{path}"
            then(_name, path)
            return _real(place, *arguments, **options)

        patch.setattr(os, name, call)


def _of_descriptor(number: int) -> Path:
    return Path(f"/proc/self/fd/{number}").readlink()


def calls_of_second_write(folder: Path) -> list[tuple[str, str]]:
    calls: list[tuple[str, str]] = []
    write(folder, 1)
    with pytest.MonkeyPatch.context() as patch:
        watch_calls(patch, lambda name, path: calls.append((name, path)))
        write(folder, 2)
    return calls


def test_the_disk_has_the_new_checkpoint_before_the_old_one_is_touched(tmp_path: Path) -> None:
    calls = calls_of_second_write(tmp_path)
    renamed = next(place for place, (name, _) in enumerate(calls) if name == "rename")
    synced = [path for name, path in calls[:renamed] if name == "fsync"]
    draft = calls[renamed][1]
    assert {*synced} == {draft, *(f"{draft}/{name}" for name in FILES)}
    # The names in a folder are on the disk only when the folder itself is.
    assert synced[-1] == draft
    old = str(tmp_path / "epoch-0001")
    touched = [place for place, (_, path) in enumerate(calls) if path.startswith(old)]
    folder_synced = [place for place, call in enumerate(calls) if call == ("fsync", str(tmp_path))]
    assert renamed < min(folder_synced) < min(touched)
    assert {name for name, path in calls if path.startswith(old)} >= {"unlink", "rmdir"}


def test_a_trials_folder_that_is_new_is_on_the_disk_too(tmp_path: Path) -> None:
    synced: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        watch_calls(patch, lambda name, path: synced.append(path) if name == "fsync" else None)
        write(tmp_path / "search" / "trial-0000", 1)
    assert {str(tmp_path), str(tmp_path / "search"), str(tmp_path / "search" / "trial-0000")} <= {*synced}


def test_a_process_killed_at_any_call_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    num_calls = len(calls_of_second_write(tmp_path / "counted"))
    found = []
    for place in range(num_calls):
        folder = tmp_path / str(place)
        write(folder, 1)
        child = os.fork()
        if child == 0:
            made: list[str] = []

            def kill_at(name: str, path: str, place: int = place, made: list[str] = made) -> None:
                if len(made) == place:
                    os.kill(os.getpid(), signal.SIGKILL)
                made.append(name)

            with pytest.MonkeyPatch.context() as patch:
                watch_calls(patch, kill_at)
                write(folder, 2)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        checkpoint = find_checkpoint(folder)
        assert checkpoint is not None
        epoch = int(checkpoint.name.removeprefix("epoch-"))
        check_whole(checkpoint, epoch)
        found.append(epoch)
        # The next call removes what the killed process left.
        write(folder, 3)
        assert [path.name for path in folder.iterdir()] == ["epoch-0003"]
    assert found == sorted(found)
    assert {*found} == {1, 2}


def test_a_checkpoint_of_the_same_epoch_stays(tmp_path: Path) -> None:
    first = write(tmp_path, 2)
    times = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}
    assert write(tmp_path, 2) == first
    assert {path.name: path.stat().st_mtime_ns for path in first.iterdir()} == times
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0002"]


def test_a_group_that_is_behind_does_not_remove_later_checkpoints(tmp_path: Path) -> None:
    write(tmp_path, 3)
    write(tmp_path, 2)
    checkpoint = find_checkpoint(tmp_path)
    assert checkpoint == tmp_path / "epoch-0003"
    check_whole(checkpoint, 3)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_found_full_by_fsync_leaves_the_old_checkpoint(number: int, tmp_path: Path) -> None:
    write(tmp_path, 1)

    def fail(name: str, path: str) -> None:
        if name == "fsync" and path.endswith("optimizer.pt"):
            raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        watch_calls(patch, fail)
        with pytest.raises(StoreError, match=f"no space left in {tmp_path}; valid: make room"):
            write(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001"]
    assert load_file(tmp_path / "epoch-0001" / "model.safetensors")["weight"][0, 0] == 1
