"""`table`: a user's own CSV or Parquet table."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from kmcl_platform.plugins import Reader, register

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmcl_platform.data.manifest.manifest import Manifest

_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}


@register("table")
class Table(Reader):
    """Read a CSV or Parquet table in file ROOT; all its faults are shown together. Rows count from 0."""

    image_column: str = "image"
    """Column of the images' paths."""
    split_column: str = "split"
    """Column of train, val, test. Without it, splits are drawn."""
    labels_column: str | None = None
    """Column of joined labels, or of lists [default: each other column is a class of 1, 0, -1]."""
    separator: str | None = None
    """Text between joined labels [default: |]."""
    no_label: str | None = None
    """Word in a cell without labels; an empty cell is valid too."""
    classes: tuple[str, ...] = ()
    """Names of the classes [default: all that occur]."""
    group_column: str | None = None
    """Column of groups, such as patients. No group is in two splits."""
    image_folder: Path | None = None
    """Folder in which image paths start [default: that of ROOT]."""
    delimiter: str | None = None
    """Character between columns of a CSV file: , ; | tab [default: detected]."""
    encoding: str | None = None
    """Encoding of a CSV file, such as latin-1 [default: UTF-8 or UTF-16, detected]."""
    val_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of train that becomes val."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the images that becomes test, if splits are drawn."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draws."""

    def read(self, root: Path, *, notes: list[Any], progress: "Callable[[str, int, int], None]") -> "Manifest":
        from kmcl_platform.data.readers.table import read_table

        delimiter = _DELIMITERS.get(self.delimiter or "", self.delimiter)
        return read_table(root, notes=notes, progress=progress, **(self.model_dump() | {"delimiter": delimiter}))
