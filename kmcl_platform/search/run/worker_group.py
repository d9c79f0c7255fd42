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
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import ray

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import Resources
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import ConfigError, Diverged, KmclError, StoreError
from kmcl_platform.messages import mask_passwords, show_value
from kmcl_platform.search.cluster.placement_groups import SECONDS_BETWEEN_LOOKS, ReservationWatch
from kmcl_platform.search.run.mailbox import MAX_STARTS_WITHOUT_PROGRESS, Assignment, Mailbox, Message

JOIN_SECONDS = 10.0
"""How long a group may take to end its workers in an orderly way when it is closed.

A search whose time is spent ends at most this much later, when a trial does not react."""

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
            train_loop_config={"mailbox": self._mailbox, "threads": max(1, int(resources.cpus_per_worker))},
            torch_config=torch_config(Path(scratch)),
            scaling_config=ScalingConfig(
                num_workers=resources.workers_per_trial,
                use_gpu=resources.gpus_per_worker > 0,
                resources_per_worker=per_worker,
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

    from kmcl_platform.training.workers.distributed import Workers, join_workers
    from kmcl_platform.training.workers.worker_log import start_worker_log

    start_worker_log()
    mailbox = loop_config["mailbox"]
    # The same number of threads on every machine: it decides the order of floating-point sums.
    torch.set_num_threads(loop_config["threads"])
    joined = join_workers()
    workers = Workers(joined.rank, joined.world_size, get_device())
    # Only the first worker asks, because each call counts as a start; all must begin with the same trial.
    place = workers.broadcast(ray.get(mailbox.first_place.remote()) if workers.is_first else 0)
    _logger.info("worker %d of %d is ready on %s", workers.rank, workers.world_size, workers.device)
    while (assignment := ray.get(mailbox.take.remote(place))) is not None:
        _train(mailbox, place, assignment, workers)
        place += 1
        # Reference cycles may hold the ended trial's tensors; the next trial needs their memory.
        gc.collect()
        if workers.device.type == "cuda":
            torch.cuda.empty_cache()


def _train(mailbox: Any, place: int, assignment: Assignment, workers: Any) -> None:
    from kmcl_platform.data.builtin.datasets import open_manifest
    from kmcl_platform.data.loading.own_features import digest_own_features
    from kmcl_platform.training.fit import fit
    from kmcl_platform.training.probe import probe
    from kmcl_platform.training.workers.memory import is_out_of_memory

    def report(result: EpochReport) -> bool:
        return bool(ray.get(mailbox.report.remote(place, result.model_dump())))

    def fail_and_leave(error: Exception) -> NoReturn:
        # Perhaps only this worker has failed, and the others wait for it in a collective operation. The exception makes
        # Ray Train replace the whole group.
        reason = str(error) if isinstance(error, KmclError) else _one_line(error)
        _logger.exception("trial %d failed", assignment["number"])
        ray.get(mailbox.fail.remote(place, f"out of memory: {reason}" if is_out_of_memory(error) else reason))
        raise error

    config = TrialConfig.model_validate(assignment["config"])
    # Relative paths in the search file begin at the folder in which the search was started; Ray Train moves its workers
    # to a folder of its own. On another node there may be no such folder, and absolute paths do not need it.
    if Path(assignment["working_dir"]).is_dir():
        os.chdir(assignment["working_dir"])
    try:
        manifest = open_manifest(config.data.source, Path(assignment["data_dir"]))
        if assignment.get("content_hash") not in (None, "", manifest.content_hash):
            # An import may replace the file while the search runs. The trial stays open for the right data.
            raise StoreError(
                f"data.source: {show_value(config.data.source)} was replaced while the search ran; valid: restore that "
                "manifest, then the same command continues"
            )
        checkpoints, features = Path(assignment["checkpoints"]), Path(assignment["features_dir"])
        wanted, own = assignment.get("features_hash"), str(config.data.features)
        # Only the first worker looks: the nodes of the others may not have the file.
        if wanted and workers.on_first(lambda: digest_own_features(own, features / "pictures")) != wanted:
            raise StoreError(
                f"data.features: {show_value(own)} was replaced while the search ran; valid: restore that file, "
                "then the same command continues"
            )
        if "probe_steps" not in assignment:
            fit(
                config,
                manifest,
                checkpoints=checkpoints,
                report=report,
                workers=workers,
                features=features,
                stops=assignment.get("stopping_epochs"),
            )
            return
        steps = assignment["probe_steps"]
        found = probe(config, manifest, num_steps=steps, scratch=checkpoints, workers=workers, features=features)
        if workers.is_first:
            ray.get(mailbox.measured.remote(place, found.model_dump()))
    except (Diverged, ConfigError) as error:
        # These are raised on every worker: the group is complete and takes the next trial.
        if workers.is_first:
            end = mailbox.diverge if isinstance(error, Diverged) else mailbox.fail
            ray.get(end.remote(place, str(error)))
    except StoreError as error:
        _logger.error("trial %d cannot continue: %s", assignment["number"], error)
        # Any worker may meet this, not only the first one. The trial is not at fault, and stays open.
        ray.get(mailbox.halt.remote(place, str(error)))
        raise
    except (RuntimeError, OSError, ray.exceptions.RayError) as error:
        if is_out_of_memory(error):
            fail_and_leave(error)
        # Perhaps another worker has died, or a disk was away: the group that Ray Train starts next tries the trial
        # again from its last checkpoint.
        _logger.warning("trial %d is interrupted: %s", assignment["number"], _one_line(error))
        ray.get(mailbox.note_error.remote(_one_line(error)))
        raise
    except Exception as error:
        fail_and_leave(error)


def _one_line(error: Exception) -> str:
    # An error of a library may repeat an address with its password. The search shows and records the line.
    return mask_passwords(f"{type(error).__name__}: {' '.join(str(error).split())}")[:500]
