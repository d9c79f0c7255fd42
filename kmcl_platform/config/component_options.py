"""Components that a field of a configuration names, and their options, which are fields too."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from kmcl_platform.config.base import describe_error
from kmcl_platform.errors import ConfigError
from kmcl_platform.plugins.component import Component
from kmcl_platform.plugins.registry import find_component

C = TypeVar("C", bound=Component)

Options = Mapping[str, Mapping[str, Any]]
"""The options of each component, under its name."""


def require_component(base: type[C], name: str) -> type[C]:
    """The component of a kind with a name.

    Args:
        base: the class of the kind, such as `Loss`.

    Raises:
        ValueError: there is none. As in all validators, its text is what follows `valid:` in the message.
    """
    try:
        return find_component(base, name)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def fill_options(base: type[Component], options: Options, chosen: Iterable[str]) -> dict[str, dict[str, Any]]:
    """All options of the named and of the chosen components, also those that the file does not give.

    A component without options has no entry, so that a file without them stays as it is.

    Raises:
        ValueError: a name or an option does not exist, or a value is not valid.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in sorted({*options, *chosen}):
        try:
            component = find_component(base, name)
        except ConfigError as error:
            raise ValueError(f"{name}: unknown name; valid: {error}") from None
        try:
            values = component.model_validate(options.get(name, {})).model_dump()
        except ValidationError as error:
            raise ValueError(describe_error(error, component, name)) from None
        if values:
            found[name] = values
    return found


def make_component(base: type[C], name: str, options: Options) -> C:
    """The component of a name, with its options.

    Raises:
        ConfigError: there is no such component.
    """
    return find_component(base, name).model_validate(options.get(name, {}))
