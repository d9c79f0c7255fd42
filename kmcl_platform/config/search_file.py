"""SearchFile: one YAML file with a search's values, their bounds and its budget.

It can be made in code too. A part is then an object of its class, or a mapping as in a file; a wrong value is an error
of one line.

>>> SearchFile(name="mine", space={"optim.lr": {"kind": "uniform", "low": 1, "high": 0}}, budget=Budget(trials=9))
Traceback (most recent call last):
kmcl_platform.errors.ConfigError: SearchFile.space.optim.lr: valid: low below high (low is 1.0, high is 0.0)
"""

from html import escape
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from kmcl_platform.config.after_search import Decision, Finalists, Promotion, Verdict
from kmcl_platform.config.base import Frozen
from kmcl_platform.config.component_field import NamedComponent, default_component
from kmcl_platform.config.first_trials import (
    ARCHIVE_SUFFIX,
    MOST_SOURCES,
    find_missing_room,
    find_warm_start_problem,
    is_point,
)
from kmcl_platform.config.reports.costs import COSTS
from kmcl_platform.config.reports.trial_columns import find_objective_problem
from kmcl_platform.config.search_parts import (
    NAME_PATTERN as NAME_PATTERN,
    Baseline as Baseline,
    Budget as Budget,
    Name as Name,
    Objective as Objective,
    Resources as Resources,
    find_bound_problem,
)
from kmcl_platform.config.space.aims import find_aims_problem, with_main_objective
from kmcl_platform.config.space.distributions import Choice, Distribution
from kmcl_platform.config.space.first_rung import with_first_rung
from kmcl_platform.config.space.prior import Prior
from kmcl_platform.config.trial_config import FileScalar, TrialConfig
from kmcl_platform.errors import ConfigError
from kmcl_platform.files.given_path import as_path, as_text
from kmcl_platform.files.yaml_document import write_yaml
from kmcl_platform.plugins.sampler import Sampler
from kmcl_platform.plugins.scheduler import Scheduler


def _check_source(word: str) -> str:
    if not word.endswith(ARCHIVE_SUFFIX) and not NAME_PATTERN.fullmatch(word):
        raise ValueError("the name of a search, or the path of an archive, which ends with .parquet")
    return word


Source = Annotated[str, AfterValidator(_check_source)]


class SearchFile(Frozen):
    """A whole search. With `arms`: several searches to compare, which differ in each arm's values (config/arms.py).

    The base is a complete trial. With `baseline`, the first trial has exactly these values. The trials of `baselines`
    follow it. All of them are never stopped early. So every search shows the gain over its starting point, and over the
    plain losses."""

    name: Name
    """Name of the search, its MLflow experiment and its registered model: lower-case letters, digits, - and _."""
    plugins: tuple[str, ...] = ()
    """Modules with own components: NAME.py beside this file, or installed modules of one file (docs/plugins.md)."""
    objective: Objective = Objective()
    objectives: tuple[Objective, ...] = ()
    """Two or three, in the place of `objective`; the first one is the main one. The search looks for trade-offs."""
    constraints: dict[str, FileScalar] = Field(default_factory=dict)
    """Upper bounds of what a model may cost, such as `params_millions: <= 30`. A trial that breaks one ends early."""
    serving_device: Literal["trial", "cpu"] = "trial"
    """Where `latency_ms` is measured: on the device that trains the trial, or on the CPU."""
    base: TrialConfig = TrialConfig()
    """A complete trial: the starting point, and the values of every path that the space does not have."""
    baseline: bool = True
    """Whether the base itself is the first trial."""
    baselines: tuple[Baseline, ...] | None = None
    """Further first trials. None: the plain losses, if the base has KMCL's kernel terms."""
    space: dict[str, Distribution] = Field(min_length=1)
    """What is searched: dotted paths of the base, each with the values to try."""
    budget: Budget
    scheduler: Annotated[Scheduler, NamedComponent(Scheduler)] = default_component(Scheduler, "successive_halving")
    """Early stopping: which trials end before their last epoch, and after which epoch."""
    resources: Resources = Resources()
    sampler: Annotated[Sampler, NamedComponent(Sampler, "tpe")] = default_component(Sampler, "tpe")
    """How the next point is chosen."""
    prior: Prior | None = None
    """None: the sampler alone chooses the points."""
    warm_start: tuple[Source, ...] = Field(default=(), max_length=MOST_SOURCES)
    """Earlier searches of the store, by name, and archives, by path: their best points are trained first."""
    arms: dict[str, dict[str, FileScalar]] = Field(default_factory=dict)
    """Alternatives by name. Each has values at dotted paths, which replace the base's, and the whole budget."""
    verdict: Verdict | None = None
    """None: with arms, a verdict over five seeds; without arms, the best trial is not trained again."""
    finalists: Finalists | None = None
    """None: the trial with the best value is the search's best trial, and no trial is trained again."""
    promotion: Promotion = Promotion()
    decision: Decision = Decision()

    @classmethod
    def from_yaml(cls, path: str | PathLike[str]) -> "SearchFile":
        """Read a search file, with all checks.

        Raises:
            ConfigError: the file is missing, is not YAML, or describes a search in which some trial would be invalid.
        """
        from kmcl_platform.config.search_file_reader import read_search_file

        return read_search_file(as_path(path, "path", "the path of a search file"))

    @classmethod
    def from_text(cls, text: str) -> "SearchFile":
        """Read the text of a search file, as `from_yaml`; its plug-ins are installed, or in the current folder."""
        from kmcl_platform.config.search_file_reader import parse_search_file

        # What is no Unicode is refused by the reader, as in a file.
        content = as_text(text, "text", "the text of a search file").encode(errors="surrogatepass")
        return parse_search_file(content, "text")

    def to_yaml(self) -> str:
        """The text of a search file, with every value written out; reading it gives the same search."""
        return write_yaml(self.model_dump(mode="json")).decode()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_yaml())}</pre>"

    @model_validator(mode="before")
    @classmethod
    def _load_plugins(cls, tree: Any) -> Any:
        from kmcl_platform.config.search_file_reader import find_beside, with_plugins

        # A reader of files has loaded them already, from the folder of the file.
        base = tree.get("base", {}) if isinstance(tree, dict) else None
        is_new = isinstance(base, dict) and not base.get("plugins")
        return with_plugins(tree, find_beside(Path("search.yaml"))) if is_new else tree

    @model_validator(mode="before")
    @classmethod
    def _choose_main_objective(cls, tree: Any) -> Any:
        return with_main_objective(tree)

    @model_validator(mode="after")
    def _find_first_rung(self) -> "SearchFile":
        # The default depends on other fields, which are all read now. The class is immutable for everybody else.
        found = with_first_rung(self.scheduler, self.base, self.space)
        object.__setattr__(self, "scheduler", found)
        return self

    @model_validator(mode="after")
    def _check_objective(self) -> "SearchFile":
        own = bool(self.base.own)
        if problem := find_objective_problem(self.objective.metric, self.objective.mode, own=own):
            raise ValueError(f"{'objectives.0' if self.objectives else 'objective'}.{problem}")
        for place, one in enumerate(self.objectives):
            if one.metric not in COSTS and (problem := find_objective_problem(one.metric, one.mode, own=own)):
                costs = f"; or {', '.join(COSTS)}" if place and problem.startswith("metric") and not own else ""
                raise ValueError(f"objectives.{place}.{problem}{costs}")
        return self

    @model_validator(mode="after")
    def _check_bounds(self) -> "SearchFile":
        # Without `baselines` their room is checked when the search begins: an older search may have a smaller budget.
        room = find_missing_room(self) if self.baselines else None
        problem = (
            room
            or find_bound_problem(self.budget, self.resources)
            or find_warm_start_problem(self)
            or find_aims_problem(self)
        )
        if problem:
            raise ValueError(problem)
        return self

    @model_validator(mode="before")
    @classmethod
    def _decide_arms(cls, tree: Any) -> Any:
        # Before the fields are checked: the class is immutable.
        if isinstance(tree, dict) and tree.get("arms") and tree.get("verdict") is None:
            return tree | {"verdict": {}}
        return tree

    @model_validator(mode="after")
    def _check_verdict(self) -> "SearchFile":
        if self.verdict is not None and not self.arms and not self.baseline and not self.baselines:
            seeds = self.verdict.seeds
            raise ValueError(f"verdict: got {seeds} seeds; valid: no value, because the file has no arms or baselines")
        return self

    @model_validator(mode="after")
    def _check_finalists(self) -> "SearchFile":
        if (finalists := self.finalists) is None:
            return self
        if self.verdict is not None:
            why = "the verdict between arms trains their best trials again" if self.arms else "they include a verdict"
            raise ValueError(f"finalists: got a verdict too; valid: one of the two, because {why}")
        if finalists.trials > (most := self.budget.trials):
            raise ValueError(f"finalists.trials: got {finalists.trials}; valid: at most budget.trials, {most}")
        return self

    @model_validator(mode="after")
    def _check_grid(self) -> "SearchFile":
        if self.sampler.lists_points:
            combinations = 1
            for path, distribution in self.space.items():
                if not isinstance(distribution, Choice) or distribution.when:
                    raise ValueError(
                        f"sampler.kind: got {self.sampler.name}; valid: another, because space.{path} is not a choice "
                        "without `when`"
                    )
                combinations *= len(distribution.choices)
            # Baselines that are not points of the grid are trained in addition to it.
            combinations += sum(not is_point(self, one) for one in self.baselines or ())
            # A grid has no further points, so such a search would never reach its number of trials.
            if self.budget.trials > combinations:
                raise ValueError(
                    f"budget.trials: got {self.budget.trials}; valid: at most {combinations}, the points of the grid"
                )
        return self


def check_trainable(file: SearchFile) -> None:
    """Refuse a search with values of an own training, which the platform cannot train.

    Raises:
        ConfigError: it has such values.
    """
    if file.base.own:
        raise ConfigError(
            f"base.own: got {', '.join(file.base.own)}; valid: no own values, because they are for a training of your "
            "own, in Python (open_search)"
        )
