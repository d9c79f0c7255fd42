"""fit: train one trial, epoch by epoch, from its start or its last checkpoint."""

import logging
import os
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from pathlib import Path

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.messages import count_of
from kmcl_platform.training.breaks import Breaks
from kmcl_platform.training.checkpoints.checkpoint import read_part, read_progress
from kmcl_platform.training.checkpoints.checkpoint_folder import find_continuation
from kmcl_platform.training.checkpoints.continuation import check_can_continue
from kmcl_platform.training.checkpoints.epoch_part import EpochPart
from kmcl_platform.training.costs.model_costs import known_costs, measure_costs
from kmcl_platform.training.device import chosen_operations, small_floats_are_zero
from kmcl_platform.training.session import TrainingSession
from kmcl_platform.training.workers import notice
from kmcl_platform.training.workers.device_name import group_devices
from kmcl_platform.training.workers.distributed import Workers

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 10.0
"""A trial on features writes its next checkpoint after so many seconds, if it can do without one until then: its epochs
take a fraction of a second, and a checkpoint would take a good part of that."""

NO_LIMITS: Mapping[str, float] = {}

Report = Callable[[EpochReport], bool]
"""Receives an epoch's result, on the first worker. Returns whether the trial continues."""


def fit(
    config: TrialConfig,
    manifest: Manifest,
    *,
    checkpoints: Path,
    report: Report,
    workers: Workers,
    features: Path | None = None,
    stops: Collection[int] | None = None,
    checkpoint_minutes: float | None = None,
    saved: Callable[[], None] = lambda: None,
    costs: Collection[str] = (),
    limits: Mapping[str, float] = NO_LIMITS,
    serve_on_cpu: bool = False,
) -> None:
    """Train a trial until its last epoch, or until `report` returns False.

    Every worker of the group calls this with the same arguments. After each epoch the first worker writes a checkpoint
    and calls `report`. A trial on features writes one only after an epoch that can be its last one, and after
    `CHECKPOINT_SECONDS`: after a kill it repeats some epochs. A trial on images writes further
    ones within an epoch that takes long, and when its process is told to end.

    If the folder has a checkpoint, the trial continues after it. On CPUs, and on GPUs with `optim.deterministic`, it
    has the numbers of a trial that was never interrupted. The reports of its finished epochs are repeated first,
    because the process that receives them may have died before they arrived.

    Args:
        config: the trial.
        manifest: the data; its splits `train` and `val` are used.
        checkpoints: the trial's own folder, on storage that all workers can read.
        report: called on the first worker only.
        workers: this process's place in the group.
        features: the store's folder of features. Only a trial with a frozen backbone needs it.
        stops: the epochs after which `report` may return False. None: every one.
        checkpoint_minutes: training time between two checkpoints within an epoch. None: there are none.
        saved: called on the first worker after a checkpoint within an epoch.
        costs: of the model, to be measured before it trains (`config.reports.costs`); every report has them.
        limits: the largest value of some of them.
        serve_on_cpu: whether their latency is that on the CPU. False: on the device that trains.

    Raises:
        ConfigError: the backbone is unknown, or the batch cannot be divided among the workers.
        WeightsError: the trial begins, and its pretrained weights cannot be loaded.
        DataError: a split is missing or too small, or an image cannot be read.
        StoreError: the disk is full.
        CheckpointError: the checkpoint is of another trial or other data, or incomplete; raised on every worker.
        Diverged: a term of the loss, a weight or a score is not finite; raised on every worker.
        TooCostly: the model is above one of `limits`; raised on every worker, before the first epoch.
        ToldToEnd: the process of some worker was told to end, and the checkpoint is written; raised on every worker.
    """
    optim = config.optim
    with (
        small_floats_are_zero(),
        chosen_operations(deterministic=optim.deterministic, tf32=optim.tf32),
        # Epochs on features take a fraction of a second. Nothing looks for a notice in them.
        nullcontext() if config.model.backbone_mode == "frozen" else notice.training(),
    ):
        _fit(
            config,
            manifest,
            checkpoints,
            report,
            workers,
            features,
            stops,
            checkpoint_minutes,
            saved,
            lambda: measure_costs(config, manifest, workers, costs, limits, on_cpu=serve_on_cpu),
        )


def _fit(
    config: TrialConfig,
    manifest: Manifest,
    checkpoints: Path,
    report: Report,
    workers: Workers,
    features: Path | None,
    stops: Collection[int] | None,
    checkpoint_minutes: float | None,
    saved: Callable[[], None],
    measure: Callable[[], dict[str, float]],
) -> None:
    # One worker looks, so that all of them continue from the same checkpoint.
    found = workers.broadcast(find_continuation(checkpoints) if workers.is_first else None)
    progress = read_progress(found) if found else None
    if found and progress:
        # Before the network is built and the reports are repeated: a report of another trial must not reach the study.
        check_can_continue(found, progress, config, manifest.class_names)
    # A trial that continues keeps its values: a second measurement would give another latency.
    costs = known_costs(progress.reports[-1]) if progress and progress.reports else measure()
    session = TrainingSession(config, manifest, workers, continued=progress, features=features)
    reports = session.restore(found) if found else ()
    part = read_part(found) if found else None
    if workers.is_first:
        steps = f" and {count_of(part.step, 'step')}" if part else ""
        logger.info("%s: %s", checkpoints, f"continues after epoch {len(reports)}{steps}" if found else "begins")
    # A stop that was decided before the interruption is decided again: the study gives the same answer to the same
    # report.
    for earlier in reports:
        if not _report(workers, report, earlier):
            return
    is_frozen = config.model.backbone_mode == "frozen"
    may_skip = stops is not None and is_frozen
    needed, written = {*(stops or ()), config.num_epochs}, time.monotonic()

    def save_part(done: EpochPart) -> None:
        session.save(checkpoints, reports, done)
        saved()

    breaks = Breaks(
        workers,
        minutes=checkpoint_minutes,
        must_end=notice.is_given,
        worker_part=session.inputs.worker_part,
        save=save_part,
    )
    resumed_from = len(reports)
    device = group_devices(workers)
    for epoch in range(len(reports) + 1, config.num_epochs + 1):
        breaks.begin_epoch(part)
        session.meter.start()
        metrics = session.train_epoch(epoch, part, None if is_frozen else breaks) | session.validate(epoch) | costs
        part = None
        result = EpochReport(
            epoch=epoch,
            metrics=metrics,
            seconds=time.monotonic() - breaks.began,
            usage=session.usage(),
            resumed_from=resumed_from,
            process_id=os.getpid(),
            device=device,
        )
        reports = (*reports, result)
        # First the checkpoint, then the report. A process killed between the two repeats the report at its next start.
        # In the other order, the study could know an epoch whose weights are lost.
        is_due = not may_skip or epoch in needed or time.monotonic() - written >= CHECKPOINT_SECONDS
        if workers.is_first and is_due:
            session.save(checkpoints, reports)
            written = time.monotonic()
        if not _report(workers, report, result):
            return


def _report(workers: Workers, report: Report, result: EpochReport) -> bool:
    """Report an epoch on the first worker; returns on every worker whether the trial continues."""
    # The study's answer reaches the first worker only. All workers must stop after the same epoch, or the others would
    # wait in an all-reduce.
    return workers.broadcast(report(result) if workers.is_first else False)
