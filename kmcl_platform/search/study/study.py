"""The durable Optuna study: the points of a search, their values, and which trials are still open.

Other records are corrected from it. A driver may be killed at any moment: its open trials are then RUNNING in the
study, and the next start hands them out first. So every method is safe to repeat, which `storage.patient` uses too.
"""

import logging
import warnings
from collections.abc import Callable, Mapping

import optuna
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.components.schedulers.pruners.rungs import decide_before_report, read_verdict
from kmcl_platform.config.reports.trial_marks import AIMS, SPACE_CHANGES
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.plugins.faults.code_errors import code_of
from kmcl_platform.search.sampling.asking import (
    VALUES,
    baseline_name,
    counted_trials,
    draw_values,
    enqueue_points,
    finish_asking,
    is_searched,
    next_sampler,
    open_trial,
    read_trial,
    warm_source,
)
from kmcl_platform.search.sampling.first_points import COLD, WarmStart
from kmcl_platform.search.sampling.mirrored_storage import MirroredStorage
from kmcl_platform.search.sampling.search_study import SearchStudy
from kmcl_platform.search.study.budget import Ledger
from kmcl_platform.search.study.definition import NOTHING, Allowed, former_plugins, settle_definition, with_values
from kmcl_platform.search.study.ended_trials import STATES, EndedTrials, TrialEnd, last_value, spent_patience
from kmcl_platform.search.study.inputs import Inputs, check_same_inputs
from kmcl_platform.search.study.point import Point
from kmcl_platform.search.study.storage import open_storage, patient

_logger = logging.getLogger(__name__)


class DurableStudy:
    """Ask, report, prune and tell, over one study in a database.

    Attributes:
        url: the address of the database.
        say: prints one line for the user, for example that the database does not answer.
        file: the search, with its baselines as a list.
        ledger: the time that the search has spent.
        inputs: the content of the files that the search reads.
    """

    def __init__(
        self,
        url: str,
        file: SearchFile,
        say: Callable[[str], None] = _logger.warning,
        inputs: Inputs | None = None,
        clock: Callable[[], float] | None = None,
        allowed: Allowed = NOTHING,
        warm_start: WarmStart = COLD,
    ) -> None:
        """Open the file's study, or create it, with points of earlier searches in its queue.

        Raises:
            ConfigError: the address is not one of a database.
            NoAnswerError: nothing answers at the address.
            SearchError: the study was begun with other data or weights, or another definition (`settle_definition`).
        """
        self.url = url
        self.say = say
        self.file = file
        self._stopping_epochs = set(file.scheduler.stopping_epochs(file.base.num_epochs))
        self.inputs = inputs or Inputs()
        # Trials that workers have from this driver: RUNNING in the study, but not interrupted.
        self._handed_out: set[int] = set()
        self._study = self._open(allowed, warm_start)
        self.ledger = Ledger(self._study, file, clock)
        self._interrupted = self._running_trials()

    def reopen(self) -> None:
        """Connect to the database again, and forget what was read from it."""
        self._study = self._open()
        self.ledger.use(self._study)
        self._interrupted = [number for number in self._running_trials() if number not in self._handed_out]

    @patient
    def next_point(self) -> Point | None:
        """The next trial to run: an interrupted one if there is one, else a new one; None: the budget is spent."""
        if (point := self._next_point()) is not None:
            self._handed_out.add(point.number)
        return point

    @patient
    def report(
        self, number: int, epoch: int, value: float, *, seconds: float = 0.0, aims: Mapping[str, float] | None = None
    ) -> None:
        """Store a trial's value after an epoch, and its `aims`, and charge its time; repeated, it changes nothing."""
        frozen = self._frozen(number)
        if epoch not in frozen.intermediate_values:
            if aims and frozen.user_attrs.get(AIMS) != aims:
                self.note_aims(number, aims)
            # The verdict first: after a kill the trial reports again, and other trials may have reported before it.
            if is_searched(frozen) and (line := decide_before_report(self._study, frozen, epoch, value)):
                self.say(line)
            # A kill between these two lines loses the epoch's GPU time. In the other order it would be added twice.
            open_trial(self._study, number).report(value, epoch)
            self.ledger.add_epoch(seconds)

    @patient
    def note_aims(self, number: int, aims: Mapping[str, float]) -> None:
        """Store a trial's values of the other objectives and of the constraints."""
        open_trial(self._study, number).set_user_attr(AIMS, dict(aims))

    @patient
    def should_prune(self, number: int) -> bool:
        """Whether the pruner stops a trial at the last epoch that it reported."""
        frozen = self._frozen(number)
        # At other epochs there may be no checkpoint, and the pruner is not asked. Nor about a plain loss, which would
        # stop the trials of the space if it learns faster at first.
        if frozen.last_step not in self._stopping_epochs or not is_searched(frozen):
            return False
        # Called for other baselines too: only this call enters a trial into Optuna's comparison at its rung.
        with code_of(self.file.scheduler):
            wanted = open_trial(self._study, number).should_prune()
        return wanted and not baseline_name(frozen)

    @patient
    def stop_reason(self, number: int) -> str:
        """Why the pruner stops a trial at the last epoch that it reported, in words."""
        frozen = self._frozen(number)
        verdict = read_verdict(frozen, frozen.last_step)
        return f"stopped early after epoch {frozen.last_step}{f', {verdict}' if verdict else ''}"

    @patient
    def tell(self, number: int, end: TrialEnd, value: float | None = None) -> None:
        """End a trial; one that has ended stays as it is.

        A diverged trial gets the worst possible value. Optuna's samplers ignore failed trials, and its Gaussian process
        ignores pruned ones too; both would then propose points of the same region again.
        """
        if self._frozen(number).state.is_finished():
            return
        if end == "diverged":
            value = -self.file.objective.sign * float("inf")
        self._study.tell(number, value, state=STATES[end])

    @patient
    def charge_time(self) -> None:
        """Write the time that has passed, if the last write is a while ago; call it often while the search runs."""
        if self.ledger.is_charge_due():
            self.ledger.charge()

    @patient
    def counted(self) -> list[FrozenTrial]:
        """The trials that count for the budget: every trial whose point is complete."""
        return counted_trials(self._study)

    @property
    @patient
    def ended(self) -> EndedTrials:
        """Those of them that have ended, as of now."""
        return self._ended.update(self._study.all_trials())

    def end_of_budget(self) -> str | None:
        """The part of the budget that ended the search, in words; None: the search continues."""
        if spent := self.ledger.time_spent():
            return spent
        # Trials that run are finished first.
        if len(self.ended.trials) < self.ended.num_counted:
            return None
        if len(self.ended.trials) >= self.file.budget.trials:
            return f"budget.trials: all {self.file.budget.trials} have ended"
        return spent_patience(self.ended.trials, self.file)

    @patient
    def value(self, number: int) -> float | None:
        """A trial's final value, or the last it reported; None: it has none."""
        return last_value(self._frozen(number))

    @patient
    def point(self, number: int) -> Point:
        """A trial, as it is handed out."""
        frozen = self._frozen(number)
        config = with_values(self.file.base, frozen.user_attrs[VALUES], self._former_plugins, number)
        base = self.file.base.model_copy(update={"plugins": config.plugins})
        name = baseline_name(frozen)
        return Point(number, config, name, bool(name) and config == base, frozen.last_step or 0, warm_source(frozen))

    def best_value(self) -> float | None:
        """The best final value so far; None: no trial has completed."""
        best = self.ended.best(1)
        return self.value(best[0]) if best else None

    def _open(self, allowed: Allowed = NOTHING, warm_start: WarmStart = COLD) -> SearchStudy:
        # The lock of the search lets one driver write at a time.
        storage, direction = MirroredStorage(open_storage(self.url)), self.file.objective.mode
        study = optuna.create_study(
            study_name=self.file.name, storage=storage, direction=direction, load_if_exists=True
        )
        self._study = SearchStudy.of(study)
        self.file = settle_definition(self._study, self.file, allowed)
        self._study.file = self.file if SPACE_CHANGES in self._study.user_attrs else None
        self._former_plugins = former_plugins(self._study)
        # A study that was begun with another default of the first rung keeps it.
        self._study.pruner = self.file.scheduler.build_pruner(self.file.base.num_epochs)
        check_same_inputs(self._study, self.file, self.inputs)
        finish_asking(self._study, self.file)
        enqueue_points(self._study, self.file, warm_start)
        self._ended = EndedTrials(self.file)
        return self._study

    def _next_point(self) -> Point | None:
        if self.ledger.time_spent():
            return None
        if self._interrupted:
            return self.point(self._interrupted.pop(0))
        ended = self.ended
        if ended.num_counted >= self.file.budget.trials or spent_patience(ended.trials, self.file):
            return None
        # A new sampler for each point: its seed depends on the point's number.
        self._study.sampler = next_sampler(self._study, self.file)
        with warnings.catch_warnings():
            # For each diverged trial: the Gaussian process takes the worst finite value instead of its own.
            warnings.filterwarnings("ignore", message="Clip non-finite values")
            trial = self._study.ask()
            draw_values(trial, self.file, self._study.sampler)
        return self.point(trial.number)

    def _running_trials(self) -> list[int]:
        return [trial.number for trial in self._study.all_trials() if trial.state == TrialState.RUNNING]

    def _frozen(self, number: int) -> FrozenTrial:
        return read_trial(self._study, number)
