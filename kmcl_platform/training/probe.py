"""probe: a few steps of a trial, which show what the trial costs and whether it runs.

The first steps compute the same numbers as the trial itself. The same number of steps at the peak learning rate
follows. The schedule reaches that rate only after its warm-up, and a trial that diverges does so most likely there.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from kmcl_platform.config.reports.measurement import Measurement
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.loading.dataset import Batch
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.method.kernels.log_kernel import log_kernel
from kmcl_platform.method.kernels.mixture_head import KernelMixture
from kmcl_platform.method.losses import LossParts
from kmcl_platform.training.checkpoints.checkpoint_folder import folder_bytes, keep_average
from kmcl_platform.training.device import chosen_operations, small_floats_are_zero, to_device
from kmcl_platform.training.evaluate import split_metrics
from kmcl_platform.training.inputs import TrialInputs
from kmcl_platform.training.session import TrainingSession
from kmcl_platform.training.workers.distributed import Workers
from kmcl_platform.training.workers.memory import peak_memory, reset_peak_memory

WARM_UP_STEPS = 3
"""Steps before the measured ones. They also allocate memory and choose kernels, so they take longer."""

PART_STEPS = 4
"""Steps that measure what a step waits for."""

EVALUATION_BATCHES = 8
"""Batches of each worker in the measured part of the evaluation."""


def probe(
    config: TrialConfig,
    manifest: Manifest,
    *,
    num_steps: int,
    scratch: Path,
    workers: Workers,
    features: Path | None = None,
) -> Measurement:
    """Measure a trial's first steps, an evaluation and a checkpoint. No file is kept.

    Every worker of the group calls this with the same arguments.

    Args:
        config: the trial.
        manifest: the data; its splits `train` and `val` are used.
        num_steps: number of measured steps, at least 1, and of steps at the peak learning rate. A trial that has fewer
            steps takes fewer.
        scratch: a folder for one checkpoint, on the same disk as the search's checkpoints. It is removed.
        workers: this process's place in the group.
        features: the store's folder of features. Only a trial with a frozen backbone needs it.

    Returns:
        The costs. If a cost differs between workers, it is that of the worst one.

    Raises:
        ConfigError, DataError: as `fit`.
    """
    optim = config.optim
    with small_floats_are_zero(), chosen_operations(deterministic=optim.deterministic, tf32=optim.tf32):
        return _probe(config, manifest, num_steps, scratch, workers, features)


def _probe(
    config: TrialConfig, manifest: Manifest, num_steps: int, scratch: Path, workers: Workers, features: Path | None
) -> Measurement:
    reset_peak_memory(workers.device)
    started = time.monotonic()
    if config.model.backbone_mode == "frozen":
        # Before the clock of the set-up, because not every trial computes the features.
        TrialInputs(config, manifest, workers, features=features)
    setup_started = time.monotonic()
    session = TrainingSession(config, manifest, workers, features=features)
    setup_seconds = time.monotonic() - setup_started

    batches = _endless(session)
    num_all = config.num_epochs * len(session.loader)
    # A step beyond the trial's last one would be beyond the end of its learning-rate schedule, which is an error.
    num_timed = max(1, min(num_steps, num_all - WARM_UP_STEPS))
    parts = [session.train_batch(*next(batches)) for _ in range(min(WARM_UP_STEPS, num_all - num_timed))]
    clock = _Clock(workers)
    for _ in range(num_timed):
        images_B3HW, targets_BK = next(batches)
        parts.append(session.train_batch(images_B3HW, targets_BK))
    step_seconds = clock.stop() / num_timed
    # These three change no weight, so they show the trial as it is after its first steps.
    underflow_share = _underflow_share(session, images_B3HW, targets_BK)
    evaluation_seconds = _time_evaluation(session)
    checkpoint_seconds, checkpoint_bytes, average_bytes = _time_checkpoint(session, scratch)
    # Last, because these steps can make the weights infinite or NaN.
    peak_parts = _steps_at_peak(session, batches, num_timed)
    in_memory, loss_seconds = _time_parts(session, images_B3HW, targets_BK)
    return Measurement(
        device="cuda" if workers.device.type == "cuda" else "cpu",
        setup_seconds=setup_seconds,
        seconds_per_step=step_seconds,
        seconds_in_memory=in_memory,
        loss_seconds=loss_seconds,
        steps_per_epoch=len(session.loader),
        evaluation_seconds=evaluation_seconds,
        checkpoint_seconds=checkpoint_seconds,
        checkpoint_bytes=checkpoint_bytes,
        average_bytes=average_bytes,
        peak_bytes=int(_largest(workers, peak_memory(workers.device))),
        device_bytes=torch.cuda.mem_get_info(workers.device)[1] if workers.device.type == "cuda" else 0,
        underflow_share=underflow_share,
        first_steps=len(parts),
        nonfinite_first_steps=_count_nonfinite(workers, parts),
        peak_steps=len(peak_parts),
        nonfinite_peak_steps=_count_nonfinite(workers, peak_parts),
        total_seconds=time.monotonic() - started,
    )


class _Clock:
    """Measures the wall time of an operation of all workers."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._started = self._now()

    def stop(self) -> float:
        return self._now() - self._started

    def _now(self) -> float:
        # After an all-reduce, all workers are at the same point. Only reading its value waits for a GPU.
        float(self._workers.mean(torch.zeros(1, device=self._workers.device)))
        return time.monotonic()


def _endless(session: TrainingSession) -> Iterator[Batch]:
    """The batches of epoch 1, then of epoch 2, and so on without end."""
    epoch = 1
    while True:
        session.begin_epoch(epoch)
        yield from session.loader
        epoch += 1


def _steps_at_peak(session: TrainingSession, batches: Iterator[Batch], num_steps: int) -> list[LossParts]:
    session.model.train()
    # At the peak, the trial has the kernel terms too.
    session.balance.end_start()
    for group in session.optimizer.param_groups:
        group["lr"] = group["max_lr"]
    # `step`, not `train_batch`: the schedule would set its own learning rate again.
    return [session.step(*next(batches)) for _ in range(num_steps)]


def _time_parts(session: TrainingSession, images_B3HW: torch.Tensor, targets_BK: torch.Tensor) -> tuple[float, float]:
    """Seconds of a step whose images are in memory, and of its loss alone."""
    clock = _Clock(session.workers)
    for _ in range(PART_STEPS):
        session.step(images_B3HW, targets_BK)
    step_seconds = clock.stop() / PART_STEPS
    device, step = session.workers.device, session.step
    with torch.no_grad(), step.precision.autocast():
        features_BD, mixture = session.model(to_device(images_B3HW, device))
    leaves = [part.detach().requires_grad_() for part in (features_BD, *mixture)]
    targets_BK = targets_BK.to(device)
    clock = _Clock(session.workers)
    for _ in range(PART_STEPS):
        step.loss(leaves[0], KernelMixture(*leaves[1:]), targets_BK).total.backward()
    return step_seconds, clock.stop() / PART_STEPS


def _time_evaluation(session: TrainingSession) -> float:
    """Seconds of an evaluation on the whole validation split.

    The time for scores is extrapolated from some batches. The time for metrics is measured with random scores
    for the whole split.
    """
    workers = session.workers
    # Not measured: like the first steps, it allocates memory and chooses kernels.
    session.inputs.score_validation(session.average, session.precision, 1)
    clock = _Clock(workers)
    scores_NK, _ = session.inputs.score_validation(session.average, session.precision, EVALUATION_BATCHES)
    scoring = clock.stop() * len(session.inputs.validation_set) / len(scores_NK)
    # In a trial, too, only the first worker computes metrics.
    if workers.is_first:
        # A copy, because the array belongs to Arrow and cannot be written to, of which torch warns.
        targets_NK = torch.from_numpy(session.manifest.targets("val").copy())
        started = time.monotonic()
        split_metrics("val", torch.rand(targets_NK.shape), targets_NK, session.config.plugins)
        scoring += time.monotonic() - started
    return workers.broadcast(scoring)


def _time_checkpoint(session: TrainingSession, scratch: Path) -> tuple[float, int, int]:
    """Seconds and bytes of one checkpoint, and the bytes that are kept of it when a trial has ended."""
    if not session.workers.is_first:
        return session.workers.broadcast((0.0, 0, 0))
    started = time.monotonic()
    try:
        checkpoint = session.save(scratch, ())
        seconds = time.monotonic() - started
        size = folder_bytes(checkpoint)
        keep_average(checkpoint)
        average_size = folder_bytes(checkpoint)
    finally:
        # Also after an error, for example of a full disk, whose space this frees.
        shutil.rmtree(scratch, ignore_errors=True)
    return session.workers.broadcast((seconds, size, average_size))


@torch.no_grad()
def _underflow_share(session: TrainingSession, images_B3HW: torch.Tensor, targets_BK: torch.Tensor) -> float | None:
    """Share of known labels whose kernel g is 0 in float32. None: the loss uses no kernels, or no label is known."""
    if not session.step.loss.uses_kernels:
        return None
    step, device = session.step, session.workers.device
    images_B3HW = to_device(images_B3HW, device)
    with step.precision.autocast():
        features_BD, mixture = session.model(images_B3HW)
    scale = step.loss.exponent_scale(features_BD.shape[1])
    vanished_BK = log_kernel(features_BD, mixture, scale=scale).float().exp() == 0
    known_BK = targets_BK.to(device) >= 0
    counts_2 = torch.stack(((vanished_BK & known_BK).sum(), known_BK.sum())).float()
    vanished, known = session.workers.mean(counts_2).tolist()
    return vanished / known if known else None


def _count_nonfinite(workers: Workers, parts: list[LossParts]) -> int:
    """Steps in which a term of the loss was not finite on some worker."""
    # A mean over workers is not finite if the value of one worker is not.
    terms = workers.mean(torch.stack([torch.stack([term.float() for term in step]) for step in parts]))
    return int((~terms.isfinite().all(dim=1)).sum())


def _largest(workers: Workers, value: float) -> float:
    # One row from each worker. float64 holds any number of bytes exactly.
    values_1 = torch.tensor([value], dtype=torch.float64, device=workers.device)
    return float(workers.gather_interleaved(values_1, workers.world_size).max())
