"""SearchFile: one YAML file that says what is searched, within which bounds, for how much."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from kmcl_platform.config.base import Frozen, describe_error
from kmcl_platform.config.epoch_report import METRIC_NAMES
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.errors import ConfigError

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class _Conditional(Frozen):
    when: dict[str, Scalar] = Field(default_factory=dict)
    """Searched only in trials that have these values; elsewhere the base's value stands."""


class Uniform(_Conditional):
    """A real number, uniform in [low, high]."""

    kind: Literal["uniform"]
    low: float
    high: float

    @model_validator(mode="after")
    def _check_order(self) -> "Uniform":
        _check_low_below_high(self.low, self.high)
        return self

    def edges(self) -> list[Scalar]:
        """Low, high and one value between them."""
        return [self.low, self.high, (self.low + self.high) / 2]

    def contains(self, value: Scalar) -> bool:
        """Whether a value lies in the distribution's range."""
        return _is_number(value) and self.low <= float(value) <= self.high  # type: ignore[arg-type]


class LogUniform(_Conditional):
    """A positive real number, uniform in its logarithm on [low, high]."""

    kind: Literal["loguniform"]
    low: float = Field(gt=0)
    high: float = Field(gt=0)

    @model_validator(mode="after")
    def _check_order(self) -> "LogUniform":
        _check_low_below_high(self.low, self.high)
        return self

    def edges(self) -> list[Scalar]:
        """Low, high and their geometric mean."""
        return [self.low, self.high, (self.low * self.high) ** 0.5]

    def contains(self, value: Scalar) -> bool:
        """Whether a value lies in the distribution's range."""
        return _is_number(value) and self.low <= float(value) <= self.high  # type: ignore[arg-type]


class Int(_Conditional):
    """A whole number in [low, high], both ends included; `log` searches its logarithm."""

    kind: Literal["int"]
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _check_order(self) -> "Int":
        _check_low_below_high(self.low, self.high)
        if self.log and self.low < 1:
            raise ValueError(f"low of at least 1 where log is true (low is {self.low})")
        return self

    def edges(self) -> list[Scalar]:
        """Low, high and the middle."""
        return [self.low, self.high, (self.low + self.high) // 2]

    def contains(self, value: Scalar) -> bool:
        """Whether a value lies in the distribution's range."""
        return _is_number(value) and float(value).is_integer() and self.low <= int(value) <= self.high  # type: ignore[arg-type]


class Choice(_Conditional):
    """One of a list of values."""

    kind: Literal["choice"]
    choices: tuple[Scalar, ...] = Field(min_length=1)

    @field_validator("choices")
    @classmethod
    def _check_distinct(cls, choices: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        if len(set(choices)) != len(choices):
            raise ValueError("choices that differ from one another")
        return choices

    def edges(self) -> list[Scalar]:
        """Every choice."""
        return list(self.choices)

    def contains(self, value: Scalar) -> bool:
        """Whether a value is one of the choices."""
        return value in self.choices


Distribution = Annotated[Uniform | LogUniform | Int | Choice, Field(discriminator="kind")]


class Objective(Frozen):
    """The metric of a trial's last epoch that the search optimises."""

    metric: str = "val/mAP"
    mode: Literal["maximize", "minimize"] = "maximize"

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, metric: str) -> str:
        if metric not in METRIC_NAMES:
            raise ValueError(f"one of {', '.join(METRIC_NAMES)}")
        return metric

    @property
    def sign(self) -> int:
        """1 where larger is better, -1 where smaller is."""
        return 1 if self.mode == "maximize" else -1


class Budget(Frozen):
    """What a search may spend."""

    trials: int = Field(ge=1, le=100_000)


class SuccessiveHalving(Frozen):
    """Asynchronous successive halving: at epochs min_epochs·factor^i only the best 1/factor go on."""

    kind: Literal["successive_halving"] = "successive_halving"
    min_epochs: int = Field(default=1, ge=1)
    reduction_factor: int = Field(default=2, ge=2)


class Hyperband(Frozen):
    """Hyperband: several brackets of successive halving, from eager to patient."""

    kind: Literal["hyperband"]
    min_epochs: int = Field(default=1, ge=1)
    reduction_factor: int = Field(default=3, ge=2)


class NoStopping(Frozen):
    """Every trial trains to its last epoch."""

    kind: Literal["none"]


Scheduler = Annotated[SuccessiveHalving | Hyperband | NoStopping, Field(discriminator="kind")]


class Resources(Frozen):
    """What one trial takes from the cluster."""

    workers_per_trial: int = Field(default=1, ge=1, le=4096)
    cpus_per_worker: float = Field(default=1, gt=0, le=1024)
    gpus_per_worker: float = Field(default=0, ge=0, le=64)
    max_concurrent_trials: int | None = Field(default=None, ge=1)
    """Upper bound on trials at once; none: as many as the cluster holds."""


class Sampler(Frozen):
    """How the next point is chosen."""

    kind: Literal["tpe", "random", "qmc", "gp"] = "tpe"
    startup_trials: int = Field(default=10, ge=0)
    """Random trials before a model-based sampler (tpe, gp) begins to model."""
    seed: int = Field(default=0, ge=0, lt=2**31)


class SearchFile(Frozen):
    """A whole search.

    The base is a complete trial. With `baseline`, it is run as the first trial, exactly as it stands and never stopped
    early, so that every search says what was gained over its starting point.
    """

    name: str
    objective: Objective = Objective()
    base: TrialConfig = TrialConfig()
    baseline: bool = True
    space: dict[str, Distribution] = Field(min_length=1)
    budget: Budget
    scheduler: Scheduler = SuccessiveHalving()
    resources: Resources = Resources()
    sampler: Sampler = Sampler()

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not NAME_PATTERN.fullmatch(name):
            raise ValueError("lower-case letters, digits, - and _, at most 63, beginning with a letter or digit")
        return name


def read_search_file(path: Path) -> SearchFile:
    """Read and check a search file.

    Raises:
        ConfigError: the file is missing, is not YAML, or describes a search in which some trial would be invalid.
    """
    return parse_search_file(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """Read a file whole.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; valid: the path of a YAML search file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def parse_search_file(content: bytes, origin: str) -> SearchFile:
    """Build a SearchFile from the bytes of a YAML file.

    Args:
        content: the file's bytes, UTF-8.
        origin: the file's name, for messages.

    Raises:
        ConfigError: as `read_search_file`.
    """
    try:
        tree = yaml.load(content.decode(), Loader=_UniqueKeyLoader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{origin}: not UTF-8 text (byte {error.start}); valid: a YAML search file") from None
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigError(f"{origin}: {where}not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin}: got {type(tree).__name__}; valid: a YAML mapping with name, base, space, budget")
    try:
        file = SearchFile.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {describe_error(error, SearchFile)}") from None
    try:
        _check_every_edge(file)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from None
    return file


def active_paths(file: SearchFile, values: dict[str, Scalar]) -> list[str]:
    """The paths of the space whose conditions hold, given the values chosen so far over the base's."""
    config = file.base.flat() | values
    return [path for path, d in file.space.items() if all(config.get(p) == v for p, v in d.when.items())]


def _check_every_edge(file: SearchFile) -> None:
    """Refuse a space that reaches an invalid trial: every edge alone, then all lows and all highs together."""
    known = file.base.flat()
    for path, distribution in file.space.items():
        if path not in known:
            raise ConfigError(f"space.{path}: unknown path; valid: {', '.join(sorted(known))}")
        if path == "data.source":
            raise ConfigError(f"space.{path}: trials on different data cannot be compared; valid: any other path")
        for condition, value in distribution.when.items():
            _check_condition(file, path, condition, value)
        for edge in distribution.edges():
            _check_trial(file, {path: edge} | distribution.when, f"space.{path}", edge)
    if len(file.space) > 1:
        for which, index in (("lows", 0), ("highs", 1)):
            corner = {path: d.edges()[min(index, len(d.edges()) - 1)] for path, d in file.space.items()}
            _check_trial(file, corner, f"space with all {which} together", corner)
    if file.baseline:
        for path in active_paths(file, {}):
            if not file.space[path].contains(known[path]):
                raise ConfigError(
                    f"base.{path}: got {known[path]!r}; valid: a value within space.{path}, since the base is the "
                    "first trial (or set baseline: false)"
                )
    min_epochs = getattr(file.scheduler, "min_epochs", 1)
    if min_epochs > file.base.num_epochs:
        raise ConfigError(
            f"scheduler.min_epochs: got {min_epochs}; valid: at most base.num_epochs, {file.base.num_epochs}"
        )
    if "num_epochs" in file.space:
        raise ConfigError("space.num_epochs: trials of different length cannot be compared; valid: any other path")


def _check_condition(file: SearchFile, path: str, condition: str, value: Scalar) -> None:
    paths = list(file.space)
    if condition not in paths or paths.index(condition) >= paths.index(path):
        before = ", ".join(paths[: paths.index(path)]) or "none"
        raise ConfigError(f"space.{path}.when: got {condition!r}; valid: a path of the space named before it: {before}")
    if not file.space[condition].contains(value):
        raise ConfigError(
            f"space.{path}.when.{condition}: got {value!r}; valid: a value that space.{condition} can take"
        )


def _check_trial(file: SearchFile, values: dict[str, Scalar], place: str, got: object) -> None:
    try:
        config = file.base.with_values(values)
    except ConfigError as error:
        raise ConfigError(f"{place}: got {got!r}, which makes an invalid trial: {error}") from None
    workers = file.resources.workers_per_trial
    if config.data.batch_size % workers:
        raise ConfigError(
            f"{place}: data.batch_size: got {config.data.batch_size}; valid: a multiple of "
            f"resources.workers_per_trial, {workers}"
        )


def _check_low_below_high(low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"low below high (low is {low}, high is {high})")


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, but a key that stands twice is an error: plain YAML would drop the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
