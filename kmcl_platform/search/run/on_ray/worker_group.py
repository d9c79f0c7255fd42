"""One group of Ray Train workers that serves many trials.

Starting a group takes half a minute, starting a trial in a running group takes milliseconds. So a group lives longer
than a trial. Three parts exchange messages:

    Tune's trial actor                mailbox (an actor)              Ray Train's workers
    ──────────────────                ──────────────────              ───────────────────
    WorkerGroup.begin(trial)   ──►    assign                  ◄──     take      every worker, one trial after the other
    WorkerGroup.next_message() ──►    next_message            ◄──     report    first worker, after each epoch
                                      decision                ──►     continue, or stop
"""

import gc
import logging
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import ray

from kmcl_platform.config.search_parts import Resources
from kmcl_platform.search.cluster.placement_groups import SECONDS_BETWEEN_LOOKS, ReservationWatch
from kmcl_platform.search.run.assignment import Assignment, Message
from kmcl_platform.search.run.on_ray.mailbox import MAX_STARTS_WITHOUT_PROGRESS, Mailbox

JOIN_SECONDS = 10.0
"""How long a group may take to end its workers in an orderly way when it is closed.

A search whose time is spent ends at most this much later, when a trial does not react."""

SECONDS_BETWEEN_REPORTS = 1.0
"""Shorter epochs are reported together, if the search cannot stop the trial after them."""

_logger = logging.getLogger(__name__)


class WorkerGroup:
    """The mailbox and the Ray Train workers of a trial actor."""

    def __init__(self, resources: Resources, *, max_starts: int = MAX_STARTS_WITHOUT_PROGRESS) -> None:
        """Start the workers, without waiting until they are ready."""
        self._mailbox: Any = Mailbox.remote(max_starts)
        self._error: BaseException | None = None
        # `fit` lasts as long as the group. A daemon thread does not keep an actor alive that is to end.
        self._thread = threading.Thread(target=self._run, args=(resources,), daemon=True)
        self._thread.start()
        self._awaiting_decision: int | None = None
        # Only until the first message: an unused placement group can keep the workers from starting.
        self._watch: ReservationWatch | None = ReservationWatch()
        self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS

    def begin(self, assignment: Assignment) -> None:
        """Give the workers their next trial; a trial that has not ended is stopped."""
        self._awaiting_decision = None
        ray.get(self._mailbox.assign.remote(assignment))

    def next_message(self) -> Message:
        """Let the trial continue, and wait for its next message.

        Raises:
            RuntimeError: the group has ended for good.
        """
        if self._awaiting_decision is not None:
            ray.get(self._mailbox.go_on.remote(self._awaiting_decision))
            self._awaiting_decision = None
        # One call for the whole wait: a second one would take a second message.
        pending = self._mailbox.next_message.remote()
        while True:
            # With a timeout, because the mailbox cannot know that the group has ended.
            ready, _ = ray.wait([pending], timeout=1.0)
            if ready:
                message: Message = ray.get(pending)
                self._watch = None
                if "report" in message:
                    self._awaiting_decision = message["report"]["epoch"]
                return message
            if not self._thread.is_alive():
                raise RuntimeError("the group of Ray Train workers has ended") from self._error
            if self._watch is not None and time.monotonic() >= self._next_look:
                self._watch.look()
                self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS

    def close(self) -> None:
        """End the workers."""
        ray.get(self._mailbox.close.remote())
        self._thread.join(JOIN_SECONDS)

    def _run(self, resources: Resources) -> None:
        # Ray Train needs a folder. Nothing in it is read again; therefore it is not in the store.
        with tempfile.TemporaryDirectory(prefix="kmcl-train-", ignore_cleanup_errors=True) as scratch:
            self._serve(resources, scratch)

    def _serve(self, resources: Resources, scratch: str) -> None:
        # Imported here: this module is also loaded by the driver, which needs neither torch nor Ray Train.
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        from kmcl_platform.search.cluster.loopback import torch_config

        per_worker = {"CPU": resources.cpus_per_worker}
        if resources.gpus_per_worker:
            per_worker["GPU"] = resources.gpus_per_worker
        trainer = TorchTrainer(
            serve_trials,
            train_loop_config={
                "mailbox": self._mailbox,
                "threads": max(1, int(resources.cpus_per_worker)),
                "gpu_share": resources.gpus_per_worker,
            },
            torch_config=torch_config(Path(scratch)),
            scaling_config=ScalingConfig(
                num_workers=resources.workers_per_trial,
                use_gpu=resources.gpus_per_worker > 0,
                resources_per_worker=per_worker,
                accelerator_type=resources.accelerator_type,
            ),
            run_config=RunConfig(
                # A new name each time: Ray Train loads the state that it finds under an old one.
                name=f"workers-{time.time_ns()}",
                storage_path=scratch,
                # Lost workers are always replaced; the mailbox ends a trial that loses them again and again.
                failure_config=FailureConfig(max_failures=-1),
            ),
        )
        try:
            trainer.fit()
        except BaseException as error:
            # Nothing else would show it: this is a thread without a caller.
            _logger.exception("the group of Ray Train workers has ended")
            self._error = error
            raise


def serve_trials(loop_config: dict[str, Any]) -> None:
    """The function that every Ray Train worker runs: trial after trial, until the mailbox closes."""
    import torch
    from ray.train.torch import get_device

    from kmcl_platform.search.run.on_ray import drain
    from kmcl_platform.search.run.trial_training import train_assignment
    from kmcl_platform.training.workers import spot_notice
    from kmcl_platform.training.workers.distributed import Workers, join_workers
    from kmcl_platform.training.workers.memory import keep_freed_memory, limit_gpu_memory, release_freed_memory
    from kmcl_platform.training.workers.worker_log import start_worker_log

    start_worker_log()
    keep_freed_memory()
    spot_notice.watch()
    drain.watch()
    mailbox = loop_config["mailbox"]
    # The same number of threads on every machine: it decides the order of floating-point sums.
    torch.set_num_threads(loop_config["threads"])
    joined = join_workers()
    workers = Workers(joined.rank, joined.world_size, get_device())
    limit_gpu_memory(workers.device, loop_config["gpu_share"])
    # Only the first worker asks, because each call counts as a start; all must begin with the same trial.
    place = workers.broadcast(ray.get(mailbox.first_place.remote()) if workers.is_first else 0)
    _logger.info("worker %d of %d is ready on %s", workers.rank, workers.world_size, workers.device)
    has_trained = False
    while (assignment := ray.get(mailbox.take.remote(place))) is not None:
        drain.leave_if_drained()
        spot_notice.wait_if_given()
        channel = _MailboxChannel(mailbox, place, assignment)
        is_probe = "probe_steps" in assignment
        train_assignment(assignment, workers, channel, measured=channel.measured if is_probe else None)
        place += 1
        # Reference cycles may hold the ended trial's tensors; the next trial needs their memory.
        gc.collect()
        release_freed_memory()
        if not has_trained:
            # The libraries are loaded now. Without their million objects, the collections of later trials take
            # milliseconds instead of a quarter of a second.
            gc.freeze()
            has_trained = True
        if workers.device.type == "cuda":
            torch.cuda.empty_cache()


class _MailboxChannel:
    """The mailbox as the workers of one trial use it."""

    connection_errors: tuple[type[Exception], ...] = (ray.exceptions.RayError,)

    def __init__(self, mailbox: Any, place: int, assignment: Assignment) -> None:
        self._mailbox = mailbox
        self._place = place
        # A message passes four processes. A trial on features has many epochs in a second, so an epoch after which the
        # search cannot stop the trial waits here for the next one. If it is lost, the trial reports it again.
        self._can_wait = "stopping_epochs" in assignment
        self._decided = {*assignment.get("stopping_epochs", []), assignment["config"]["num_epochs"]}
        self._waiting: list[dict[str, Any]] = []
        self._sent = time.monotonic()

    def report(self, report: dict[str, Any]) -> bool:
        self._waiting.append(report)
        is_early = time.monotonic() - self._sent < SECONDS_BETWEEN_REPORTS
        if self._can_wait and is_early and report["epoch"] not in self._decided:
            return True
        return self._send_reports()

    def _send_waiting(self) -> None:
        """Before the end of a trial: its epochs are part of the record."""
        if self._waiting:
            self._send_reports()

    def _send_reports(self) -> bool:
        reports, self._waiting = self._waiting, []
        goes_on = bool(ray.get(self._mailbox.report.remote(self._place, reports)))
        self._sent = time.monotonic()
        return goes_on

    def saved(self) -> None:
        ray.get(self._mailbox.note_progress.remote(self._place))

    def refuse(self, costs: dict[str, float]) -> None:
        self._send_waiting()
        ray.get(self._mailbox.refuse.remote(self._place, costs))

    def diverge(self, reason: str) -> None:
        self._send_waiting()
        ray.get(self._mailbox.diverge.remote(self._place, reason))

    def fail(self, reason: str, *, out_of_memory: bool = False) -> None:
        self._send_waiting()
        ray.get(self._mailbox.fail.remote(self._place, reason, out_of_memory))

    def halt(self, reason: str) -> None:
        ray.get(self._mailbox.halt.remote(self._place, reason))

    def measured(self, measurement: dict[str, Any]) -> None:
        ray.get(self._mailbox.measured.remote(self._place, measurement))

    def note_error(self, reason: str) -> None:
        ray.get(self._mailbox.note_error.remote(reason))
