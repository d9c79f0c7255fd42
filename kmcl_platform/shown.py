"""Shown: a result that is printed on a terminal, and shown in a notebook."""

import io
from collections.abc import Iterable
from typing import Any

from rich.console import Console, RenderableType

_WIDTH = 160
"""Characters of a line in a notebook, a file or a pipe."""
_HTML = "<pre style='line-height:normal;white-space:pre'>{code}</pre>"


def open_console() -> Console:
    """The standard output. Rich gives a file or a pipe only 80 columns, and would break the lines of tables."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


class Shown:
    """A result with a text form. `print(result)` prints it; a notebook shows it with its colours."""

    def parts(self) -> Iterable[RenderableType]:
        """What is shown, from top to bottom: lines and tables."""
        raise NotImplementedError

    def show(self, console: Console | None = None) -> None:
        """Print the result. None: on standard output."""
        console = console or open_console()
        for part in self.parts():
            # Text keeps its lines whole and is not searched for colours; tables are fitted to the terminal.
            if isinstance(part, str):
                console.print(part, highlight=False, markup=False, soft_wrap=True)
            else:
                console.print(part)

    def __str__(self) -> str:
        output = io.StringIO()
        self.show(Console(file=output, width=_WIDTH))
        return output.getvalue().rstrip("\n")

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        # IPython in a terminal shows the same text, not the fields.
        printer.text(str(self))

    def _repr_html_(self) -> str:
        console = Console(file=io.StringIO(), width=_WIDTH, record=True, force_jupyter=False)
        self.show(console)
        return console.export_html(inline_styles=True, code_format=_HTML)
