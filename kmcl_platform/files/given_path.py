"""Paths and texts as a caller gives them to the Python API."""

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from kmcl_platform.errors import ConfigError
from kmcl_platform.messages import show_value

AnyPath = str | PathLike[str]


def as_path(value: AnyPath, name: str, valid: str = "a path") -> Path:
    """A path that a caller gives.

    Args:
        value: text, or an object such as `pathlib.Path`.
        name: of the argument, for messages.
        valid: what it may be, for messages.

    Raises:
        ConfigError: it is something else, or no file can have this name.
    """
    # Callers without a type checker may give anything.
    path = os.fspath(value) if isinstance(value, str | PathLike) else None
    if not isinstance(path, str) or "\0" in path:
        raise ConfigError(f"{name}: got {' '.join(show_value(value).split())}; valid: {valid}")
    return Path(path)


def as_paths(values: AnyPath | Sequence[AnyPath], name: str, valid: str = "a path, or a list of paths") -> list[Path]:
    """Paths that a caller gives, one alone or several; otherwise as `as_path`."""
    if isinstance(values, str | PathLike):
        return [as_path(values, name, valid)]
    if not hasattr(values, "__iter__"):
        raise ConfigError(f"{name}: got {show_value(values)}; valid: {valid}")
    return [as_path(one, name, valid) for one in values]


def as_text(value: str, name: str, valid: str) -> str:
    """A text that a caller gives; arguments and errors as for `as_path`."""
    # Callers without a type checker may give anything.
    if not isinstance(value, str):
        raise ConfigError(f"{name}: got {' '.join(show_value(value).split())}; valid: {valid}")
    return value
