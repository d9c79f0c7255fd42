"""What a trial does on a GPU, as far as a machine without one can show it: no waiting in a step, no tensor of the CPU in a
collective operation, no operation on tensors of two devices."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import pytest
import torch

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.loading.dataset import Batch
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.training import evaluate, session as session_module
from kmcl_platform.training.breaks import Breaks
from kmcl_platform.training.inputs import TrialInputs
from kmcl_platform.training.probe import _count_nonfinite, _largest, _underflow_share
from kmcl_platform.training.session import TrainingSession
from kmcl_platform.training.step import CHECK_EVERY, LossWatch
from kmcl_platform.training.workers.distributed import Workers
from tests.training.pretend_accelerator import COLLECTIVES, DEVICE, Accelerator, pretend_accelerator

BASE = TrialConfig().with_values({"data.image_size": 16, "data.batch_size": 32, "optim.ema_decay": 0.9})
KMCL: list[dict[str, Any]] = [
    {},
    {"model.kernels_per_class": 3, "optim.gradient_clip_norm": 1.0},
    {"model.kernel": "anisotropic", "model.reduced_dim": 16},
    {"loss.balance": "gradient_shares", "loss.kernel_start": 0.1},
    {"loss.objective": "bce"},
]


@pytest.fixture(scope="module")
def manifest(small_manifest: Path) -> Manifest:
    return read_manifest(small_manifest)


@contextmanager
def session_on_accelerator(
    values: dict[str, Any], manifest: Manifest, num_workers: int
) -> Iterator[tuple[TrainingSession, Accelerator]]:
    """A session whose batches are fake too. Its first step, which makes the optimizer's state, has been taken."""
    if num_workers > 1 and not torch._C._dispatch_has_kernel_for_dispatch_key("c10d::_allgather_base_", "Meta"):
        pytest.skip("this PyTorch cannot pretend to send tensors between workers")
    config = BASE.with_values(values)
    inputs = TrialInputs(config, manifest, Workers(rank=0, world_size=num_workers, device=DEVICE))
    max_labels = inputs.training_set.max_labels
    inputs.training_set.count_skipped = lambda: 1  # type: ignore[method-assign]
    with (
        pretend_accelerator(num_workers) as accelerator,
        mock.patch.object(session_module, "TrialInputs", lambda *_, **__: inputs),
        mock.patch.object(evaluate, "build_loader", lambda *_, **__: [make_batch(4, inputs)] * 3),
        # DistributedDataParallel cannot be built on a device that is not there.
        mock.patch.object(session_module, "data_parallel", lambda model, *_, **__: model),
    ):
        session = TrainingSession(config, manifest, Workers(rank=0, world_size=num_workers, device=DEVICE))
        # On a GPU this number comes from the dataset.
        session.step.loss.max_labels = max_labels
        # The first step of a trial waits for a check of its inputs.
        session.step.loss._inputs_checked = True
        session.loader = [make_batch(inputs.batch_size, inputs)] * 3  # type: ignore[assignment]
        session.begin_epoch = lambda epoch, part=None: None  # type: ignore[method-assign]
        session.train_batch(*session.loader[0])  # type: ignore[index]
        accelerator.waits.clear()
        yield session, accelerator


def make_batch(rows: int, inputs: TrialInputs) -> Batch:
    size, classes = BASE.data.image_size, inputs.training_set.num_classes
    return torch.zeros((rows, 3, size, size), dtype=torch.uint8), torch.zeros((rows, classes), dtype=torch.int8)


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("values", KMCL, ids=str)
def test_a_step_does_not_wait_for_the_device(values: dict[str, Any], num_workers: int, manifest: Manifest) -> None:
    with session_on_accelerator(values, manifest, num_workers) as (session, accelerator):
        for batch in session.loader:
            session.train_batch(*batch)
        assert accelerator.waits == []


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_evaluation_waits_only_at_its_end(num_workers: int, manifest: Manifest) -> None:
    with session_on_accelerator({}, manifest, num_workers) as (session, accelerator):
        session.inputs.score_validation(session.average, session.precision)
        # For the scores; with several workers for the labels too, which travel with them.
        assert len(accelerator.waits) == num_workers


def test_a_wait_and_a_wrong_device_are_seen() -> None:
    with pretend_accelerator() as accelerator:
        assert float(torch.ones((), device=DEVICE)) == 1
        torch.ones(2, device=DEVICE).cpu()
        assert len(accelerator.waits) == 2
        with pytest.raises(RuntimeError, match="device"):
            torch.ones(2, device=DEVICE) + torch.ones(2)


def leave(*_: object) -> NoReturn:
    raise InterruptedError


def test_workers_send_only_tensors_of_their_device(manifest: Manifest) -> None:
    with session_on_accelerator({"data.corrupt_images": "skip"}, manifest, 2) as (session, accelerator):
        session.train_epoch(1)
        session.inputs.score_validation(session.average, session.precision)
        batch = session.loader[0]  # type: ignore[index]
        # What only the probe of `kmcl plan` sends.
        _count_nonfinite(session.workers, [session.train_batch(*batch)])
        _largest(session.workers, 1.0)
        _underflow_share(session, *batch)
        # Two workers agree on whether a checkpoint within the epoch is due. Here the answer has no value.
        with suppress(InterruptedError):
            breaks = Breaks(session.workers, minutes=None, must_end=bool, worker_part=leave, save=leave)
            breaks(CHECK_EVERY, LossWatch(session.workers, 1))
    # NCCL has only the device's memory; `broadcast_object_list` copies its objects there by itself.
    assert {device for _, device in accelerator.sent} == {DEVICE.type}
    assert {name for name, _ in accelerator.sent} == set(COLLECTIVES)
