"""From the name of a reader and its options to a manifest."""

from collections.abc import Callable, Collection, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from pydantic import ValidationError

from kmcl_platform.config.base import describe_error
from kmcl_platform.config.component_options import read_component
from kmcl_platform.errors import DataError
from kmcl_platform.files.file_status import is_there
from kmcl_platform.messages import show_path, show_value
from kmcl_platform.plugins.faults.code_errors import CODE_ERRORS, place_of, show_error
from kmcl_platform.plugins.reader import Reader, Row, RowReader
from kmcl_platform.plugins.registry import find_component, list_components
from kmcl_platform.plugins.source import find_plugin, load_plugin

if TYPE_CHECKING:
    from kmcl_platform.data.manifest.manifest import Manifest
    from kmcl_platform.data.manifest.table_errors import Fault

_NOT_KEPT = ("duplicates", "near_duplicates")
"""Options that a later call of the same import may set in another way."""


def list_readers(plugin: str | PathLike[str] | None = None) -> dict[str, type[Reader]]:
    """The readers of `import_data`, by name; the fields of each class are its options.

    Args:
        plugin: a Python file with readers of your own, which are then in the list.

    Raises:
        DataError: the file is missing, or is no Python file.
        ConfigError: the file cannot be loaded.
    """
    if plugin is not None:
        file = Path(plugin)
        if file.suffix != ".py" or not is_there(file):
            raise DataError(f"--plugin: got {show_path(file)}; valid: a Python file (*.py)")
        load_plugin(find_plugin(file.stem, file.parent))
    return {name: find_component(Reader, name) for name in list_components(Reader)}


def build_reader(reader: type[Reader], options: Mapping[str, Any]) -> Reader:
    """The reader with its options; a list of names may also be one text, with commas.

    Raises:
        DataError: an option is unknown or missing, or a value is not valid.
    """
    values = dict(options)
    for name, field in reader.model_fields.items():
        if get_origin(field.annotation) is tuple and isinstance(values.get(name), str):
            values[name] = tuple(one.strip() for one in values[name].split(",") if one.strip())
    try:
        return read_component(reader, values)
    except ValidationError as error:
        name, colon, rest = describe_error(error, reader).partition(":")
        raise DataError(f"{_to_option(name)}{colon}{rest}") from None


def read_dataset(
    reader: Reader, root: Path, *, notes: "list[Fault]", progress: Callable[[str, int, int], None]
) -> "Manifest":
    """The manifest of a dataset.

    Args:
        reader: with its options.
        root: what it reads.
        notes: takes remarks for the user.
        progress: is called with what is worked on, how much of it is done, and how much there is.

    Raises:
        DataError: the dataset cannot be read, or has faults, or the code of a plug-in raises an error.
    """
    try:
        if not isinstance(reader, RowReader):
            manifest: Manifest = reader.read(root, progress=progress, notes=notes)
            return manifest
        from kmcl_platform.data.readers.rows import read_rows

        rows, shared = _list_rows(reader, root), {name: getattr(reader, name) for name in RowReader.model_fields}
        return read_rows(rows, name=reader.name, root=root, progress=progress, notes=notes, **shared)
    except DataError as error:
        # Such as a split that cannot be drawn: that code knows no file. All others name it, or the plug-in.
        if not str(error).startswith("split "):
            raise
        raise DataError(f"{show_path(root)}: {error}") from None


def to_words(reader: Reader, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The given options as words of `kmcl data import`; paths are absolute."""
    words: list[str] = []
    for name in options:
        value = getattr(reader, name)
        if name in _NOT_KEPT or value is None or value is False:
            continue
        words.append(_to_option(name))
        if value is not True:
            text = ",".join(value) if isinstance(value, tuple) else value
            words.append(str(text.absolute() if isinstance(text, Path) else text))
    return tuple(words)


def _list_rows(reader: RowReader, root: Path) -> list[Row]:
    place = place_of(reader)
    try:
        rows = list(reader.rows(root))
    except DataError:
        raise
    # The code of a plug-in may raise anything.
    except CODE_ERRORS as error:
        raise DataError(f"{place} raises {show_error(error)}; valid: no error") from error
    for number, row in enumerate(rows):
        if not isinstance(row, Row) or not _has_right_types(row):
            valid = "Row(image, labels), labels as a list of texts, and split and group as texts"
            raise DataError(f"{place}: row {number}: got {show_value(row)}; valid: {valid}")
    return rows


def _has_right_types(row: Row) -> bool:
    # Text is a collection of texts too.
    if not isinstance(row.image, str | Path) or isinstance(row.labels, str) or not isinstance(row.labels, Collection):
        return False
    return all(isinstance(text, str) for text in (row.split, row.group, *row.labels))


def _to_option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
