"""The progress of a search in a notebook: one output that is replaced, so that the page does not grow."""

import io
from collections import deque
from collections.abc import Callable
from typing import Any

from rich.console import Console, RenderableType

_LINES = 12
"""The latest lines that are shown."""
_WIDTH = 120
_HTML = "<pre style='line-height:normal;white-space:pre'>{code}</pre>"


class NotebookConsole(Console):
    """A console whose latest lines are shown in one output of a notebook, with a live table below them.

    It has the methods of rich's `Live` that a search uses: rich itself needs ipywidgets for its own.

    Args:
        show: shows HTML, in place of what it showed before. None: in a new output of the running notebook.
    """

    def __init__(self, show: Callable[[str], None] | None = None) -> None:
        super().__init__(file=io.StringIO(), width=_WIDTH, force_jupyter=False, force_terminal=False)
        self._show = show or _open_output()
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._table: RenderableType | None = None

    def print(self, *objects: Any, **options: Any) -> None:
        """Add lines to the output."""
        plain = Console(file=io.StringIO(), width=_WIDTH, record=True, force_jupyter=False)
        plain.print(*objects, **options)
        self._lines.extend(plain.export_text().splitlines())
        self._redraw()

    def start(self) -> None:
        """Begin to show a table."""

    def update(self, table: RenderableType, *, refresh: bool = False) -> None:
        """Show this table in place of the former one."""
        self._table = table
        self._redraw()

    def stop(self) -> None:
        """Remove the table; the lines stay."""
        self._table = None
        self._redraw()

    def _redraw(self) -> None:
        drawn = Console(file=io.StringIO(), width=_WIDTH, record=True, force_jupyter=False)
        for line in self._lines:
            drawn.print(line, highlight=False, markup=False, soft_wrap=True)
        if self._table is not None:
            drawn.print(self._table)
        self._show(drawn.export_html(inline_styles=True, code_format=_HTML))


def _open_output() -> Callable[[str], None]:
    # Only a notebook has IPython for certain.
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)
    return lambda html: handle.update(HTML(html))
