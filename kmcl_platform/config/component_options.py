"""Components that a field of a configuration names, and their options, which are fields too."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from kmcl_platform.config.base import describe_error
from kmcl_platform.errors import ConfigError
from kmcl_platform.messages import show_value
from kmcl_platform.plugins.component import Component
from kmcl_platform.plugins.faults.code_errors import code_of, place_of
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
            values = read_component(component, options.get(name, {})).model_dump(warnings=False)
        except ValidationError as error:
            raise ValueError(describe_error(error, component, name)) from None
        if values:
            found[name] = values
    return found


def make_component(base: type[C], name: str, options: Options) -> C:
    """The component of a name, with its options.

    Raises:
        ConfigError: there is no such component, or it does not accept its options.
        PluginError: its code raises an error.
    """
    component = find_component(base, name)
    try:
        return read_component(component, options.get(name, {}))
    except ValidationError as error:
        # Options that were read before are refused now: a check of the plug-in refuses what it has returned.
        raise ConfigError(f"{place_of(component)}: {describe_error(error, component)}") from None


def read_component(component: type[C], options: Any) -> C:
    """A component with these options.

    Raises:
        ValidationError: they are not valid.
        PluginError: the code of a plug-in that checks them raises another error.
    """
    with code_of(component, f" with the options {show_value(options)}"):
        try:
            return component.model_validate(options)
        except ValidationError as error:
            refused = error
    # Outside of the block: this one is not a fault of the code.
    raise refused
