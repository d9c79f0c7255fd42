"""Errors of the code of plug-ins, as one line that names the line of the plug-in."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING

from kmcl_platform.errors import KmclError, PluginError
from kmcl_platform.messages import reason_line

if TYPE_CHECKING:
    from kmcl_platform.plugins.component import Component

CODE_ERRORS = (Exception, SystemExit)
"""What the code of a plug-in may raise. `sys.exit` in it is a mistake too: it must not end the program without a word.

Ctrl-C is not one of them."""

BUILT_IN = "kmcl_platform.components"
"""The package with a package for each kind, whose modules register the platform's own components."""

_files: set[str] = set()
"""The files of the plug-ins that this process has loaded, as tracebacks name them."""

_IN_LOADER = "Original Traceback (most recent call last):"
"""In the text that a DataLoader gives to an error of one of its processes. The rest is the traceback."""


def note_file(origin: str) -> None:
    """Say that a file has the code of a plug-in."""
    _files.add(origin)


def show_error(error: BaseException) -> str:
    """An error as one line: its type, its text, and the last line of a plug-in that it passed through.

    >>> show_error(RuntimeError("no data")), show_error(AssertionError())
    ('RuntimeError: no data', 'AssertionError')
    """
    text = str(error)
    frames = [(frame.f_code.co_filename, number) for frame, number in walk_tb(error.__traceback__)]
    name = f"{type(error).__name__}: "
    if _IN_LOADER in text:
        frames = [(file, int(number)) for file, number in re.findall(r'File "(.+?)", line (\d+)', text)]
        # The last line of the traceback has the type already.
        name, text = "", text.rstrip().rpartition("\n")[2]
    own = [f" ({Path(file).name}, line {number})" for file, number in frames if file in _files]
    return f"{name}{reason_line(text)}".removesuffix(": ") + (own[-1] if own else "")


def is_of_plugin(component: "Component | type[Component]") -> bool:
    """Whether a component is one of a plug-in."""
    return not component.__module__.startswith(f"{BUILT_IN}.")


@contextmanager
def code_of(component: "Component | type[Component]", doing: str = "") -> Iterator[None]:
    """Inside it, the code of a component runs. If a plug-in has it, its errors become one line.

    Args:
        component: or its class. Errors of the platform's own components stay as they are.
        doing: what is done with it, in words, after its name.

    Raises:
        PluginError: the code raised an error.
    """
    try:
        yield
    except KmclError:
        raise
    except CODE_ERRORS as error:
        if not is_of_plugin(component):
            raise
        raise PluginError(f"{place_of(component)}{doing} raises {show_error(error)}; valid: no error") from error


def place_of(component: "Component | type[Component]") -> str:
    """A component in messages: its plug-in, kind and name."""
    return f"plugins.{component.__module__}: the {component.kind} {component.name}"
