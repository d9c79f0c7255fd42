"""The base class of components. A component is a record of its options, with methods that do its work.

Each kind of component has a base class in a module of this package, such as `Loss`. These modules do not import torch:
a search file is read and checked without it. The platform's own components import it where they need it. Plug-ins may
import it at their top.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import NoneType
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, model_validator

from kmcl_platform.messages import show_value
from kmcl_platform.plugins.record_errors import OneLineErrors


class Record(BaseModel, metaclass=OneLineErrors):
    """An immutable record that refuses unknown fields, infinities, NaN, and `true` or `false` in place of a number."""

    model_config = ConfigDict(
        # The docstring of a field is its description in the JSON schema, which editors show.
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )

    # pydantic reads true as 1, so that `trials: true` would be a search of one trial.
    @model_validator(mode="before")
    @classmethod
    def _refuse_truth_as_number(cls, values: Any) -> Any:
        for name, value in values.items() if isinstance(values, Mapping) else ():
            is_truth = isinstance(value, bool)
            if isinstance(value, list | tuple):
                is_truth = any(isinstance(part, bool) for part in value)
            if is_truth and name in cls.model_fields:
                types = _types_of(cls.model_fields[name].annotation)
                if types and types <= {int, float}:
                    number = "a number" if float in types else "a whole number"
                    raise ValueError(f"{name}: got {show_value(value)}; valid: {number}")
        return values


def _types_of(annotation: Any) -> set[type]:
    """The types that a field can have, without the containers around them and without None."""
    if annotation is NoneType:
        return set()
    inner = [_types_of(part) for part in get_args(annotation)]
    return set().union(*inner) if inner else {annotation} if isinstance(annotation, type) else set()


class Component(Record):
    """A part of a trial that is chosen by name. Its fields are its options; each has a default.

    Attributes:
        kind: what it is a choice of, in messages.
        requires: a package that the component needs, with its versions, such as `timm>=1.0.31`. Empty: the packages
            that the platform needs are enough.
        package: the package below `kmcl_platform.components` with the platform's own components of this kind.
        name: in search files; `register` sets it.
        needs_defaults: each option must have a default.
        option_types: types of options, in addition to those of a value in a search file.
        reserved: names that no option can have.
    """

    kind: ClassVar[str]
    requires: ClassVar[str] = ""
    package: ClassVar[str]
    needs_defaults: ClassVar[bool] = True
    option_types: ClassVar[tuple[Any, ...]] = ()
    reserved: ClassVar[tuple[str, ...]] = ()
    name: ClassVar[str] = ""

    @classmethod
    def find_problem(cls) -> str | None:
        """Why the class cannot be a component of its kind, in words, after `got`; None: it can."""
        return None

    @classmethod
    def find_missing(cls) -> str | None:
        """What of `requires` is not installed here, in words; None: nothing."""
        if not cls.requires:
            return None
        from packaging.requirements import Requirement

        wanted = Requirement(cls.requires)
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            return f"needs {cls.requires}, which is not installed"
        # Machines with GPUs often have builds between two releases.
        if wanted.specifier.contains(found, prereleases=True):
            return None
        return f"needs {cls.requires}; installed is {found}"
