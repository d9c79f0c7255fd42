"""`Metric`: the base class of metrics, the numbers that an evaluation yields."""

import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from kmcl_platform.messages import show_value
from kmcl_platform.plugins.component import Component
from kmcl_platform.plugins.registry import BUILT_IN, find_component, list_components

if TYPE_CHECKING:
    from torch import Tensor

METRIC_NAME = (
    "at most 250 letters, digits, spaces and _ - . : /, where no part between the / is empty or begins with two points"
)
"""The names that MLflow takes, in words. `is_metric_name` decides it."""


def is_metric_name(name: object) -> bool:
    """Whether MLflow takes a text as the name of a metric. One that it refuses would never leave the record's queue."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w./: -]{1,250}", name):
        return False
    return not any(part.strip() in ("", ".") or part.startswith("..") for part in name.split("/"))


class Metric(Component):
    """A number that says how good the scores of a split are; it is computed after each epoch.

    A metric of your own has the method `measure`, and its name in files is `val/NAME`. It has no options: a metric is
    the same in all trials of a search.

    Attributes:
        mode: whether larger values are better (`maximize`) or smaller ones; a search with this objective has it as its
            default.
        names: of the metrics that the class computes together. Empty: one, with the name of the class.
    """

    kind: ClassVar[str] = "metric"
    package: ClassVar[str] = "metrics"
    mode: ClassVar[Literal["maximize", "minimize"]] = "maximize"
    names: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def find_problem(cls) -> str | None:
        if cls.model_fields:
            return f"options, {', '.join(cls.model_fields)}; valid: no options, a metric is the same in all trials"
        if cls.mode not in ("maximize", "minimize"):
            return f"mode = {cls.mode!r}; valid: 'maximize', 'minimize'"
        if unfit := next((name for name in cls.names if not is_metric_name(name)), None):
            return f"names = {show_value(cls.names)}, with {show_value(unfit)}; valid: each is {METRIC_NAME}"
        if cls.measure is Metric.measure and cls.measure_all is Metric.measure_all:
            return "a class without the method `measure`; valid: a class that has it"
        return None

    def measure(self, scores_NK: "Tensor", positive_NK: "Tensor", known_NK: "Tensor") -> "float | None":
        """The value on a split, on the CPU. None, or a number that is not finite: it is undefined there, and left out.

        Args:
            scores_NK: probabilities, float32, of all N images of the split.
            positive_NK: bool, known positive labels.
            known_NK: bool, labels that are known; the others must not count.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `measure`")

    def measure_all(self, scores_NK: "Tensor", targets_NK: "Tensor") -> dict[str, float]:
        """Every metric of the class by its name; undefined ones may be missing.

        Args:
            scores_NK: as for `measure`.
            targets_NK: 1 positive, 0 negative, -1 unknown.
        """
        value = self.measure(scores_NK, targets_NK == 1, targets_NK >= 0)
        return {} if value is None else {self.name: float(value)}


def list_metrics(plugins: Collection[str] | None = None) -> Iterator[type[Metric]]:
    """The platform's own metrics, and those of plug-ins.

    Args:
        plugins: names of modules, whose metrics are listed. None: those of all modules that are loaded.
    """
    for name in list_components(Metric):
        metric = find_component(Metric, name)
        if plugins is None or metric.__module__.startswith(f"{BUILT_IN}.") or metric.__module__ in plugins:
            yield metric


def plugin_metrics(plugins: Collection[str]) -> list[str]:
    """The names of the metrics of some plug-ins."""
    return [name for one in list_metrics(plugins) if one.__module__ in plugins for name in metric_names(one)]


def metric_names(metric: type[Metric]) -> tuple[str, ...]:
    """The names of the metrics that a class computes, without the split."""
    return metric.names or (metric.name,)
