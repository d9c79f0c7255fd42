"""Checkpoints within an epoch: a trial that goes on from one has the numbers of an undisturbed trial."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from kmcl_platform.config.reports.epoch_report import SKIPPED_IMAGES, EpochReport
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.errors import CheckpointError, StoreError
from kmcl_platform.training import breaks
from kmcl_platform.training.breaks import ToldToEnd
from kmcl_platform.training.checkpoints.checkpoint_folder import AVERAGE, find_continuation, keep_average
from kmcl_platform.training.fit import fit
from kmcl_platform.training.session import TrainingSession
from kmcl_platform.training.workers import notice
from kmcl_platform.training.workers.distributed import join_workers
from tests.support.waiting import free_port
from tests.support.worker_processes import run_workers
from tests.training.test_corrupt_images import damaged
from tests.training.trials import ALONE, join, run

CONFIG = TrialConfig().with_values(
    {
        "data.image_size": 32, "data.batch_size": 32, "model.backbone": "test_byobnet", "optim.lr": 5e-3,
        "optim.ema_decay": 0.9, "num_epochs": 2,
    }
)  # fmt: skip
STEPS = 6  # of an epoch: 192 training images


@pytest.fixture(scope="module")
def manifest(small_manifest: Path) -> Manifest:
    return read_manifest(small_manifest)


@pytest.fixture(autouse=True)
def _no_notice() -> Iterator[None]:
    yield
    notice._given.clear()


class Notice:
    """Tells a training to end after so many of its steps."""

    def __init__(self, patch: pytest.MonkeyPatch, after: int) -> None:
        self.left = after
        patch.setattr(notice, "is_given", self)

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


def numbers(reports: list[EpochReport]) -> list[tuple[int, dict[str, float]]]:
    return [(report.epoch, dict(report.metrics)) for report in reports]


def interrupt(config: TrialConfig, manifest: Manifest, folder: Path, patch: pytest.MonkeyPatch, after: int) -> None:
    """Train until this step of this process, then leave with a checkpoint."""
    with patch.context() as inner:
        Notice(inner, after)
        with pytest.raises(ToldToEnd, match="a worker was told to end; its trial goes on after step "):
            run(config, manifest, folder)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"data.augmentation": "timm", "data.loader_processes": 2},
        {"data.augmentation": "rand_augment", "data.augment_batches": True},
        {"loss.balance": "gradient_shares"},
        {"loss.kernel_start": 0.4},
        {"model.head": "ml_decoder", "optim.gradient_clip_norm": 0.5},
    ],
    ids=str,
)
def test_a_trial_goes_on_from_any_step(
    values: dict[str, Scalar], manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.with_values(values)
    undisturbed = run(config, manifest, tmp_path / "whole")
    folder = tmp_path / "parted"
    # In the first epoch, which has no checkpoint yet; again in the same epoch; and in the next one.
    for after, name in ((2, "part-0001-000002"), (2, "part-0001-000004"), (4, "part-0002-000003")):
        interrupt(config, manifest, folder, monkeypatch, after)
        assert [path.name for path in sorted(folder.iterdir())] == ["epoch-0001"] * ("0002" in name[:9]) + [name]
        torch.rand(17)  # Random numbers that the process draws in the meantime must not matter.
    resumed = run(config, manifest, folder)
    assert numbers(resumed) == numbers(undisturbed)
    assert resumed[-1].resumed_from == 1
    assert [path.name for path in folder.iterdir()] == ["epoch-0002"]
    assert (folder / "epoch-0002" / AVERAGE).read_bytes() == (tmp_path / "whole" / "epoch-0002" / AVERAGE).read_bytes()


def test_a_network_that_draws_random_numbers_goes_on_with_the_next_ones(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_noise(session: TrainingSession, *words: Any, **others: Any) -> None:
        init(session, *words, **others)
        assert session.model.backbone is not None
        session.model.backbone.register_forward_hook(
            lambda _, __, features_BD: torch.nn.functional.dropout(features_BD, 0.5)
        )

    init = TrainingSession.__init__
    monkeypatch.setattr(TrainingSession, "__init__", with_noise)
    undisturbed = run(CONFIG, manifest, tmp_path / "whole")
    interrupt(CONFIG, manifest, tmp_path / "parted", monkeypatch, 3)
    assert numbers(run(CONFIG, manifest, tmp_path / "parted")) == numbers(undisturbed)


def test_skipped_images_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIG.with_values({"data.corrupt_images": "skip", "data.batch_size": 8, "num_epochs": 1})
    manifest = damaged(*range(0, 40, 3), num_train=40)
    (whole,) = run(config, manifest, tmp_path / "whole")
    interrupt(config, manifest, tmp_path / "parted", monkeypatch, 3)
    (resumed,) = run(config, manifest, tmp_path / "parted")
    assert resumed.metrics[SKIPPED_IMAGES] == whole.metrics[SKIPPED_IMAGES] == 14
    assert resumed.metrics == whole.metrics


def test_one_is_written_whenever_the_minutes_have_passed(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, written = [0.0], []
    monkeypatch.setattr(breaks.time, "monotonic", lambda: now[0])

    def saved() -> None:
        written.append((now[0], *sorted(path.name for path in tmp_path.iterdir())))

    def tick() -> bool:
        now[0] += 60.0
        return False

    monkeypatch.setattr(notice, "is_given", tick)
    reports: list[EpochReport] = []
    fit(
        CONFIG,
        manifest,
        checkpoints=tmp_path,
        report=lambda report: reports.append(report) is None,
        workers=ALONE,
        checkpoint_minutes=2,
        saved=saved,
    )
    # The clock goes on by a minute with each step but the last one of an epoch.
    assert written == [
        (120.0, "part-0001-000002"),
        (240.0, "part-0001-000004"),
        (420.0, "epoch-0001", "part-0002-000002"),
        (540.0, "epoch-0001", "part-0002-000004"),
    ]
    assert [report.seconds for report in reports] == [300.0, 300.0]


def test_the_time_of_both_parts_counts(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(breaks.time, "monotonic", lambda: now[0])

    def told_after(minutes: int) -> None:
        def tick() -> bool:
            now[0] += 60.0
            return now[0] == 60.0 * minutes

        monkeypatch.setattr(notice, "is_given", tick)

    told_after(3)
    with pytest.raises(ToldToEnd):
        run(CONFIG, manifest, tmp_path)
    now[0] = 1000.0
    told_after(0)
    first, second = run(CONFIG, manifest, tmp_path)
    # Three minutes and two: the time between the two is not training.
    assert (first.seconds, second.seconds) == (300.0, 300.0)


def test_a_full_disk_is_named_and_leaves_the_former_checkpoint(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(CONFIG, manifest, tmp_path, monkeypatch, STEPS)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        Notice(patch, 2)

        def refuse(path: Path, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        patch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(StoreError, match="no space left"):
            run(CONFIG, manifest, tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_damaged_one_is_named(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(CONFIG, manifest, tmp_path, monkeypatch, 2)
    found = find_continuation(tmp_path)
    assert found is not None
    (found / "part.pt").write_bytes(b"hello")
    with pytest.raises(CheckpointError, match=f"{found}/part.pt: cannot be read"):
        run(CONFIG, manifest, tmp_path)


def test_it_goes_when_the_trial_has_ended(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(CONFIG, manifest, tmp_path, monkeypatch, STEPS + 1)
    keep_average(tmp_path / "epoch-0001")
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001"]


def test_an_old_part_beside_a_later_epoch_is_not_used(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(CONFIG, manifest, tmp_path, monkeypatch, 2)
    (tmp_path / "epoch-0001").mkdir()
    assert find_continuation(tmp_path) == tmp_path / "epoch-0001"


def train(rank: int, num_workers: int, port: int, folder: str, manifest: str, notices: bool) -> None:
    join(rank, num_workers, port)
    breaks.CHECK_EVERY = 2
    left = [4]

    def is_given() -> bool:
        left[0] -= 1
        # Only one worker knows, and not the one that writes the checkpoint.
        return notices and rank == 1 and left[0] == 0

    notice.is_given = is_given
    reports: list[EpochReport] = []

    def report(result: EpochReport) -> bool:
        reports.append(result)
        return True

    config = CONFIG.with_values({"loss.balance": "gradient_shares", "data.augmentation": "timm"})
    try:
        fit(config, read_manifest(Path(manifest)), checkpoints=Path(folder), report=report, workers=join_workers())
    except ToldToEnd:
        (Path(folder) / f"left-{rank}").touch()
    if rank == 0 and not notices:
        torch.save([dict(result.metrics) for result in reports], Path(folder) / "metrics.pt")
    dist.destroy_process_group()


@pytest.mark.story
def test_two_workers_leave_and_go_on_together(small_manifest: Path, tmp_path: Path) -> None:
    found = []
    for name, interrupted in (("whole", False), ("parted", True)):
        folder = tmp_path / name
        folder.mkdir()
        for notices in (True, False) if interrupted else (False,):
            run_workers(train, 2, 2, free_port(), str(folder), str(small_manifest), notices)
            if notices:
                assert sorted(path.name for path in folder.iterdir()) == [
                    "epoch-0001", "left-0", "left-1", "part-0002-000004"
                ]  # fmt: skip
        found.append(torch.load(folder / "metrics.pt", weights_only=True))
    assert found[0] == found[1]


def test_sigterm_is_a_notice_while_a_process_trains_and_ends_it_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    monkeypatch.setattr(threading.Timer, "start", lambda timer: None)
    try:
        notice.listen()
        signal.raise_signal(signal.SIGTERM)
        assert (ended, notice.is_given()) == ([signal.SIGTERM], False)
        with notice.training():
            signal.raise_signal(signal.SIGTERM)
            assert (len(ended), notice.is_given()) == (1, True)
            # A second one does not wait.
            signal.raise_signal(signal.SIGTERM)
            assert len(ended) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
