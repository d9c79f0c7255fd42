"""The durable Optuna study: which points were asked, what they scored, which of them are still open.

It is the truth of a search. A driver may be killed at any moment: what it had asked and not finished is found RUNNING
here, and handed out again first.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.search_file import SearchFile, active_paths
from kmcl_platform.config.seeds import derive_seed
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.errors import SearchError
from kmcl_platform.search.study.budget import Ledger
from kmcl_platform.search.study.samplers import build_pruner, build_sampler
from kmcl_platform.search.study.space import grid, suggest_values

BASELINE = "baseline"
DEFINITION = "definition"
VALUES = "values"
_QUEUED = "fixed_params"
"""Optuna's own attribute of a trial that was queued: its values."""

Verdict = Literal["completed", "pruned", "failed"]

_STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class Point:
    """One trial to run.

    Attributes:
        number: the trial's number in the study, from 0.
        config: the base with the point's values.
        baseline: whether this is the base itself, which is never stopped early.
        reached: epochs that the study has already heard of.
    """

    number: int
    config: TrialConfig
    baseline: bool
    reached: int


class DurableStudy:
    """Ask, report, prune and tell, over one study in a database."""

    def __init__(self, url: str, file: SearchFile) -> None:
        """Open the file's study, or create it.

        Raises:
            SearchError: the study was begun with a file that defines another search.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._file = file
        self._study = optuna.create_study(
            study_name=file.name,
            storage=url,
            direction=file.objective.mode,
            pruner=build_pruner(file.scheduler, file.base.num_epochs),
            load_if_exists=True,
        )
        _check_same_definition(self._study, file)
        self._finish_asking()
        self._enqueue_baseline()
        self._enqueue_grid()
        self.ledger = Ledger(self._study, file)
        self._interrupted = [trial.number for trial in self._trials() if trial.state == TrialState.RUNNING]

    def next_point(self) -> Point | None:
        """An interrupted trial if there is one, else a new point; none once the budget is spent."""
        if self.ledger.time_spent():
            return None
        if self._interrupted:
            return self._point(self._interrupted.pop(0))
        if len(self.counted()) >= self._file.budget.trials or self._without_improvement():
            return None
        self._study.sampler = self._next_sampler()
        trial = self._study.ask()
        values = suggest_values(trial, self._file)
        # The mark that the point is whole: a trial without it was being asked when its driver died.
        trial.set_user_attr(VALUES, values)
        return self._point(trial.number)

    def report(self, number: int, epoch: int, value: float, *, seconds: float = 0.0) -> None:
        """Store a trial's value after an epoch, and charge its time; a second report of an epoch changes nothing."""
        if epoch not in self._frozen(number).intermediate_values:
            self._trial(number).report(value, epoch)
            self.ledger.charge(seconds)

    def should_prune(self, number: int) -> bool:
        """Whether a trial is to be stopped at the last epoch it reported."""
        # Asked in every case: by asking, a trial enters the rung's comparison, the baseline too.
        verdict = self._trial(number).should_prune()
        frozen = self._frozen(number)
        return verdict and not frozen.user_attrs.get(BASELINE) and frozen.last_step != self._file.base.num_epochs

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        """End a trial; one that has ended stays as it is."""
        if not self._frozen(number).state.is_finished():
            self._study.tell(number, value, state=_STATES[verdict])

    def counted(self) -> list[FrozenTrial]:
        """The trials that count against the budget: every one that was asked whole."""
        return [trial for trial in self._trials() if VALUES in trial.user_attrs]

    def num_finished(self) -> int:
        """Trials that have ended."""
        return sum(trial.state.is_finished() for trial in self.counted())

    def end_of_budget(self) -> str | None:
        """Which part of the budget ended the search, in words; none while it goes on."""
        if spent := self.ledger.time_spent():
            return spent
        if self.num_finished() < len(self.counted()):
            return None
        if self.num_finished() >= self._file.budget.trials:
            return f"budget.trials: all {self._file.budget.trials} have ended"
        return self._without_improvement()

    def verdicts(self) -> dict[int, str]:
        """Number and verdict of every ended trial."""
        names = {state: verdict for verdict, state in _STATES.items()}
        return {trial.number: names[trial.state] for trial in self.counted() if trial.state in names}

    def value(self, number: int) -> float | None:
        """A trial's final value, or the last it reported, or none."""
        frozen = self._frozen(number)
        return _last_value(frozen)

    def config(self, number: int) -> TrialConfig:
        """A trial's configuration."""
        return self._point(number).config

    def is_baseline(self, number: int) -> bool:
        """Whether a trial is the base itself."""
        return bool(self._frozen(number).user_attrs.get(BASELINE))

    def best_value(self) -> float | None:
        """The best final value so far, or none."""
        values = [trial.value for trial in self.counted() if trial.state == TrialState.COMPLETE]
        numbers = [value for value in values if value is not None]
        sign = self._file.objective.sign
        return max(numbers, key=lambda value: sign * value, default=None)

    def best_numbers(self, count: int) -> list[int]:
        """Numbers of the best completed trials, at most `count`, the best first; of equals the earlier."""
        sign = self._file.objective.sign
        ended = [(t.number, t.value) for t in self.counted() if t.state == TrialState.COMPLETE and t.value is not None]
        return [number for number, _ in sorted(ended, key=lambda pair: (-sign * pair[1], pair[0]))[:count]]

    def _without_improvement(self) -> str | None:
        """Whether as many trials have ended since the best one as the budget has patience for, in words."""
        patience = self._file.budget.patience
        if patience is None:
            return None
        sign, best, waited = self._file.objective.sign, None, 0
        ended = [trial for trial in self.counted() if trial.state.is_finished()]
        # In the order in which they ended: that is the order in which the search learnt of them.
        for trial in sorted(ended, key=lambda trial: (trial.datetime_complete, trial.number)):
            value = trial.value if trial.state == TrialState.COMPLETE else None
            if value is not None and (best is None or sign * value > sign * best):
                best, waited = value, 0
            elif best is not None:
                waited += 1
        return f"budget.patience: {waited} trials ended without a better one" if waited >= patience else None

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._trials()[number]

    def _trial(self, number: int) -> optuna.Trial:
        with warnings.catch_warnings():
            # Its constructor is public but marked for use by samplers: there is no other way to reopen a trial.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.trial.Trial(self._study, self._frozen(number)._trial_id)

    def _point(self, number: int) -> Point:
        frozen = self._frozen(number)
        values: dict[str, Scalar] = frozen.user_attrs[VALUES]
        return Point(
            number=number,
            config=self._file.base.with_values(values),
            baseline=bool(frozen.user_attrs.get(BASELINE)),
            reached=frozen.last_step or 0,
        )

    def _next_sampler(self) -> optuna.samplers.BaseSampler:
        # Seeding by number makes a continued search ask what an undisturbed one would have asked.
        return build_sampler(self._file.sampler, derive_seed(self._file.sampler.seed, "trial", len(self.counted())))

    def _finish_asking(self) -> None:
        """Ask the point whole whose driver died while it was asked: the same values, under the same number."""
        for half in self._trials():
            if half.state == TrialState.RUNNING and VALUES not in half.user_attrs:
                values: dict[str, Any] = {}  # those of a trial that was queued came with it
                if _QUEUED not in half.system_attrs:
                    # A sampler that finds some of the values there would draw others for the rest, so all are asked of
                    # a copy of the study in which this trial was not begun.
                    copy = optuna.create_study(
                        study_name=self._study.study_name,
                        direction=self._study.direction,
                        pruner=self._study.pruner,
                        sampler=self._next_sampler(),
                    )
                    copy.add_trials([trial for trial in self._trials() if trial.number != half.number])
                    values = suggest_values(copy.ask(), self._file)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    self._study.sampler = optuna.samplers.PartialFixedSampler(values, self._next_sampler())
                trial = self._trial(half.number)
                trial.set_user_attr(VALUES, suggest_values(trial, self._file))

    def _enqueue_baseline(self) -> None:
        if self._file.baseline and not self.counted():
            waiting = any(trial.state == TrialState.WAITING for trial in self._trials())
            if not waiting:
                base = self._file.base.flat()
                values = {path: base[path] for path in active_paths(self._file, {})}
                self._study.enqueue_trial(values, user_attrs={BASELINE: True})

    def _enqueue_grid(self) -> None:
        if self._file.sampler.kind == "grid":
            for values in grid(self._file.space):
                # Those that are there were queued by an earlier start.
                self._study.enqueue_trial(values, skip_if_exists=True)


def load_study(url: str, search: str) -> optuna.Study | None:
    """A search's study as it stands, or none; nothing is created."""
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return None  # opening it would create it
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.load_study(study_name=search, storage=url)
    except KeyError:
        return None


def _last_value(trial: FrozenTrial) -> float | None:
    if trial.state == TrialState.COMPLETE:
        return trial.value
    return trial.intermediate_values[trial.last_step] if trial.last_step is not None else None


def _check_same_definition(study: optuna.Study, file: SearchFile) -> None:
    """A study continues only the search that began it: mixing two spaces would make its ranking meaningless."""
    now = _definition(file)
    before = study.user_attrs.get(DEFINITION)
    if before is None:
        study.set_user_attr(DEFINITION, now)
        return
    # A field that the study does not know is younger than it; its default is what trials did before there was one.
    younger = {f"base.{path}": json.dumps(value) for path, value in TrialConfig().flat().items()}
    before = younger | before
    for path in sorted(before.keys() | now.keys()):
        if before.get(path) != now.get(path):
            raise SearchError(
                f"search {file.name!r} was begun with {path} = {before.get(path)}, the file now says {now.get(path)}; "
                "valid: the same definition (the budget may grow), or another name in the file"
            )


def _definition(file: SearchFile) -> dict[str, str]:
    """Everything that decides what trials compute and how they are chosen, under dotted paths."""
    no_part = {"budget", "verdict", "promotion", "decision"}
    dump = file.model_dump(exclude={"resources": {"max_concurrent_trials"}} | dict.fromkeys(no_part, True))
    definition: dict[str, str] = {}

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, dict):
            for name, child in node.items():
                walk(f"{prefix}.{name}" if prefix else name, child)
        else:
            definition[prefix] = json.dumps(node)

    walk("", dump)
    return definition
