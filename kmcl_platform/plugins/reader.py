"""`Reader`: the base class of readers of datasets, and `RowReader`, that of users' own."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from kmcl_platform.plugins.component import Component

if TYPE_CHECKING:
    from collections.abc import Callable


class Row(NamedTuple):
    """One image of a dataset.

    Attributes:
        image: its path; a relative one starts from the folder that is read.
        labels: those that are positive; all others are negative.
        split: `train`, `val` or `test`. Empty in all rows: the splits are drawn.
        group: such as a patient. All images of a group are in one split. Empty: none.
    """

    image: str | Path
    labels: Sequence[str]
    split: str = ""
    group: str = ""


class Reader(Component):
    """Reads a dataset in its own layout, for `kmcl data import`. Its fields are options of the command.

    A field without a default is an option that must be given. Its text is the help of the option.
    """

    kind: ClassVar[str] = "reader"
    package: ClassVar[str] = "readers"
    needs_defaults: ClassVar[bool] = False
    option_types: ClassVar[tuple[Any, ...]] = (Path, tuple[str, ...])
    # The command and `import_data` have arguments of these names.
    reserved: ClassVar[tuple[str, ...]] = ("help", "notes", "out", "overwrite", "plugin", "progress", "root")

    duplicates: Literal["keep", "group", "drop"] = "group"
    """Pictures with the same bytes. keep: not compared; group: never in two splits; drop: one row of each."""
    near_duplicates: bool = False
    """Count a picture that was stored again in another format, quality or size as a copy. All images are then decoded:
    about 3 ms for a photograph of 500x375, on each core."""

    @classmethod
    def find_problem(cls) -> str | None:
        if cls.read is not Reader.read:
            return None
        return "a class without the method `read`; valid: a class that has it, or a RowReader with the method `rows`"

    def read(self, root: Path, *, notes: list[Any], progress: "Callable[[str, int, int], None]") -> Any:
        """The manifest of the dataset, a `Manifest`.

        Args:
            root: what is read: a folder, or a file.
            notes: takes remarks for the user.
            progress: is called with what is worked on, how much of it is done, and how much there is.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `read`")


class RowReader(Reader):
    """A reader of your own. It has options as fields and the method `rows`; the platform does the rest.

    It finds faults of images and labels, draws splits, and treats copies of pictures.
    """

    val_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of train that becomes val, if splits are drawn."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the images that becomes test, if splits are drawn."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draws."""

    @classmethod
    def find_problem(cls) -> str | None:
        if cls.rows is not RowReader.rows:
            return None
        return "a class without the method `rows`; valid: a class that has it"

    def rows(self, root: Path) -> Iterable[Row]:
        """One row for each image.

        Args:
            root: what is read: a folder, or a file.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `rows`")
