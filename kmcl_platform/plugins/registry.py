"""The registry: components by kind and name."""

import re
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from typing import TypeVar

from kmcl_platform.errors import ConfigError
from kmcl_platform.messages import nearest_first, show_value
from kmcl_platform.plugins.component import Component
from kmcl_platform.plugins.faults.class_check import find_problem_of_class
from kmcl_platform.plugins.faults.code_errors import BUILT_IN as BUILT_IN

C = TypeVar("C", bound=Component)

NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,62}")

_components: dict[tuple[str, str], type[Component]] = {}


def register(name: str) -> Callable[[type[C]], type[C]]:
    """Make a class a component of its kind, under a name for search files.

    Args:
        name: lower-case letters, digits and _, at most 63, beginning with a letter.

    Raises:
        ConfigError: the name is not valid or taken, or the decorated object is no component, or one of its options or
            methods is not valid.
    """

    def add(component: type[C]) -> type[C]:
        if not (isinstance(component, type) and issubclass(component, Component)):
            raise ConfigError(
                f"register({name!r}): got {show_value(component)}; valid: a class that inherits from a class of "
                "kmcl_platform.plugins, such as Loss, whose fields are its options"
            )
        if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
            raise ConfigError(
                f"register({show_value(name)}): got a name that is not valid; valid: lower-case letters, digits and _, "
                "beginning with a letter"
            )
        if problem := component.find_problem():
            raise ConfigError(f"register({name!r}): got {problem}")
        if problem := find_problem_of_class(component):
            raise ConfigError(f"register({name!r}): {problem}")
        # First the platform's own, so that a plug-in does not take the name of one that is not loaded yet.
        if not component.__module__.startswith(f"{BUILT_IN}."):
            _load_built_in(component.package)
        known = _components.get((component.kind, name))
        # A cell of a notebook is run again; the code of a plug-in is forgotten before it is loaded again.
        if known is not None and not known.__module__ == component.__module__ == "__main__":
            raise ConfigError(
                f"register({name!r}): got a {component.kind} that {known.__module__} has registered; valid: another "
                "name"
            )
        if _components.get((component.kind, component.name)) is component:
            raise ConfigError(
                f"register({name!r}): got a class that is registered as {component.name!r} already; valid: one name "
                "for each class"
            )
        component.name = name
        _components[component.kind, name] = component
        return component

    return add


def find_component(base: type[C], name: str) -> type[C]:
    """The component of a kind with a name.

    Args:
        base: the class of the kind, such as `Loss`.
        name: as in a search file.

    Raises:
        ConfigError: there is none; the text is what follows the name of a field.
    """
    _load_built_in(base.package)
    found = _components.get((base.kind, name))
    if found is None or not issubclass(found, base):
        names = nearest_first(name, list_components(base))
        raise ConfigError(f"{names + ', or ' if names else ''}the name in a plug-in that `plugins` lists")
    return found


def list_components(base: type[Component], *, built_in: bool = False) -> list[str]:
    """The sorted names of all components of a kind.

    Args:
        base: the class of the kind, such as `Loss`.
        built_in: only the platform's own ones.
    """
    _load_built_in(base.package)
    return sorted(
        name
        for (kind, name), component in _components.items()
        if kind == base.kind and (not built_in or component.__module__.startswith(f"{BUILT_IN}."))
    )


def list_registered(base: type[Component], modules: Iterable[str]) -> list[tuple[str, str]]:
    """The sorted components of a kind that plug-ins registered: each one's name, and the name of its module."""
    wanted = set(modules)
    found = [(name, one.__module__) for (kind, name), one in _components.items() if kind == base.kind]
    return sorted(pair for pair in found if pair[1] in wanted)


def forget_components(module: str) -> None:
    """Remove the components that a module has registered."""
    for key in [key for key, component in _components.items() if component.__module__ == module]:
        del _components[key]


@cache
def _load_built_in(package: str) -> None:
    """Import the modules of the platform's own components of a kind, which register themselves."""
    for name in import_module(f"{BUILT_IN}.{package}").MODULES:
        import_module(f"{BUILT_IN}.{package}.{name}")
