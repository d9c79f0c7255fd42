"""The base class of components. A component is a record of its options, with methods that do its work.

Each kind of component has a base class in a module of this package, such as `Loss`. These modules do not import torch:
a search file is read and checked without it. The platform's own components import it where they need it. Plug-ins may
import it at their top.
"""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from kmcl_platform.plugins.record_errors import OneLineErrors

FROZEN = ConfigDict(
    # The docstring of a field is its description in the JSON schema, which editors show.
    frozen=True,
    extra="forbid",
    allow_inf_nan=False,
    protected_namespaces=(),
    use_attribute_docstrings=True,
)
"""Records that are immutable, and refuse unknown fields, infinities and NaN."""


class Component(BaseModel, metaclass=OneLineErrors):
    """A part of a trial that is chosen by name. Its fields are its options; each has a default.

    Attributes:
        kind: what it is a choice of, in messages.
        package: the package below `kmcl_platform.components` with the platform's own components of this kind.
        name: in search files; `register` sets it.
        needs_defaults: each option must have a default.
    """

    model_config = FROZEN
    kind: ClassVar[str]
    package: ClassVar[str]
    needs_defaults: ClassVar[bool] = True
    name: ClassVar[str] = ""

    @classmethod
    def find_problem(cls) -> str | None:
        """Why the class cannot be a component of its kind, in words, after `got`; None: it can."""
        return None
