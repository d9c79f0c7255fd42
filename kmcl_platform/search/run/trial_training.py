"""One trial on one worker: its data, its training or its probe, and what each error means for the search."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.data.loading.own_features import digest_own_features
from kmcl_platform.errors import ConfigError, Diverged, KmclError, PluginError, StoreError, TooCostly
from kmcl_platform.messages import mask_passwords, show_value
from kmcl_platform.plugins.faults.code_errors import CODE_ERRORS, show_error
from kmcl_platform.plugins.source import know_documents
from kmcl_platform.search.run.assignment import Assignment
from kmcl_platform.training.costs import measure_costs
from kmcl_platform.training.fit import fit
from kmcl_platform.training.probe import probe
from kmcl_platform.training.workers.distributed import Workers
from kmcl_platform.training.workers.memory import is_out_of_memory

_logger = logging.getLogger(__name__)


class Channel(Protocol):
    """The way from a trial's workers to the search.

    Attributes:
        connection_errors: what its methods raise when the search cannot be reached.
    """

    connection_errors: tuple[type[Exception], ...]

    def report(self, report: dict[str, Any]) -> bool:
        """Send the report of an epoch, as fields of an `EpochReport`; returns whether the trial continues."""

    def saved(self) -> None:
        """Note that the trial has made progress within an epoch: its checkpoint is written."""

    def refuse(self, costs: dict[str, float]) -> None:
        """End a trial whose model costs too much."""

    def diverge(self, reason: str) -> None:
        """End a trial that diverged."""

    def fail(self, reason: str, *, out_of_memory: bool = False) -> None:
        """End a trial that failed; the reason may be that memory ran out."""

    def halt(self, reason: str) -> None:
        """Report that no trial can continue for now; this trial is not the cause and stays open."""

    def note_error(self, reason: str) -> None:
        """Remember the error with which a worker ends."""


def train_assignment(
    assignment: Assignment,
    workers: Workers,
    channel: Channel,
    *,
    measured: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Train a trial on this worker; every worker of the group calls this.

    A trial that diverged, or whose configuration is not possible, has ended when this returns.

    Args:
        assignment: the trial.
        workers: this process's place in the group.
        channel: receives what happens to the trial.
        measured: receives the measurement of a probe, on the first worker. None: the assignment is no probe.

    Raises:
        StoreError: no trial can continue for now; the channel was told so.
        Exception: the group is not complete any more, and must be replaced. The trial has failed, or was interrupted
            and can be continued: the channel was told which.
    """

    def report(result: EpochReport) -> bool:
        return channel.report(result.model_dump())

    def fail_and_leave(error: BaseException) -> NoReturn:
        # Perhaps only this worker has failed, and the others wait for it in a collective operation. The exception makes
        # the caller replace the whole group.
        reason = str(error) if isinstance(error, KmclError) else _one_line(error)
        _logger.exception("trial %d failed", assignment["number"])
        if is_out_of_memory(error):
            channel.fail(f"out of memory: {reason}", out_of_memory=True)
        else:
            channel.fail(reason)
        if isinstance(error, SystemExit):
            # It must not end this process: only the trial has failed.
            raise PluginError(reason) from error
        raise error

    interruptions: tuple[type[Exception], ...] = (RuntimeError, OSError, *channel.connection_errors)
    know_documents(assignment.get("plugins", []))
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
        costs, limits = assignment.get("costs", ()), assignment.get("limits", {})
        serve_on_cpu = assignment.get("serving_device") == "cpu"
        if measured is None:
            fit(
                config,
                manifest,
                checkpoints=checkpoints,
                report=report,
                workers=workers,
                features=features,
                stops=assignment.get("stopping_epochs"),
                checkpoint_minutes=assignment.get("checkpoint_minutes"),
                saved=channel.saved,
                costs=costs,
                limits=limits,
                serve_on_cpu=serve_on_cpu,
            )
            return
        # As `fit` does: a model that costs too much takes no step.
        model_costs = measure_costs(config, manifest, workers, costs, limits, on_cpu=serve_on_cpu)
        steps = assignment["probe_steps"]
        found = probe(config, manifest, num_steps=steps, scratch=checkpoints, workers=workers, features=features)
        if workers.is_first:
            measured(found.model_copy(update={"model_costs": model_costs}).model_dump())
    except TooCostly as error:
        if workers.is_first:
            channel.refuse(error.costs)
    except (Diverged, ConfigError) as error:
        # These are raised on every worker: the group is complete and takes the next trial.
        if workers.is_first:
            (channel.diverge if isinstance(error, Diverged) else channel.fail)(str(error))
    except StoreError as error:
        _logger.error("trial %d cannot continue: %s", assignment["number"], error)
        # Any worker may meet this, not only the first one. The trial is not at fault, and stays open.
        channel.halt(str(error))
        raise
    except interruptions as error:
        if is_out_of_memory(error):
            fail_and_leave(error)
        # Perhaps another worker has died, or a disk was away: the next group tries the trial again from its last
        # checkpoint.
        _logger.warning("trial %d is interrupted: %s", assignment["number"], _one_line(error))
        channel.note_error(_one_line(error))
        raise
    except CODE_ERRORS as error:
        fail_and_leave(error)


def _one_line(error: BaseException) -> str:
    # An error of a library may repeat an address with its password. The search shows and records the line.
    return mask_passwords(show_error(error))
