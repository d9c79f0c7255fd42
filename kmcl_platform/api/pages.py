"""Pages of HTML that a call returns: shown in a notebook, or written into a file."""

from dataclasses import dataclass, field
from html import escape
from os import PathLike
from pathlib import Path

from kmcl_platform.errors import ConfigError
from kmcl_platform.files.atomic_write import write_atomically
from kmcl_platform.files.file_status import is_there
from kmcl_platform.files.given_path import as_path
from kmcl_platform.messages import show_path


@dataclass(frozen=True)
class Report:
    """The report of a search, one page that needs no network.

    Attributes:
        html: the page.
    """

    html: str = field(repr=False)

    def write(self, path: str | PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the page; returns its path.

        Raises:
            ConfigError: the file exists or cannot be written.
        """
        return write_text(path, self.html, overwrite=overwrite)

    def _repr_html_(self) -> str:
        # In a frame of its own: the page has styles and scripts that are not meant for the notebook.
        return f"<iframe srcdoc='{escape(self.html)}' style='width:100%;height:600px;border:0'></iframe>"


def write_text(path: str | PathLike[str], text: str, *, overwrite: bool) -> Path:
    """Write a file that the user named; a kill leaves the old file or the new one.

    Raises:
        ConfigError: it exists or cannot be written.
    """
    out = as_path(path, "path")
    check_new(out, overwrite=overwrite)
    try:
        write_atomically(out, text)
    except OSError as error:
        raise ConfigError(
            f"{show_path(out)}: cannot be written: {error.strerror}; valid: a file in a folder that can be written to"
        ) from None
    return out


def check_new(path: Path, *, overwrite: bool) -> None:
    """Refuse to replace a file.

    Raises:
        ConfigError: it exists, and `overwrite` is not set.
    """
    if is_there(path) and not overwrite:
        raise ConfigError(f"{show_path(path)}: exists; valid: a new file, or --overwrite (in Python overwrite=True)")
