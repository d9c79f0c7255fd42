"""Datasets: import one, check it, describe it, pack it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from kmcl_platform.api.pages import check_new
from kmcl_platform.errors import DataError
from kmcl_platform.files.file_status import is_same_file
from kmcl_platform.files.given_path import AnyPath as AnyPath, as_path
from kmcl_platform.messages import count_of, show_path, show_value
from kmcl_platform.shown import Shown

if TYPE_CHECKING:
    from kmcl_platform.data.check.check import CheckReport
    from kmcl_platform.data.check.remedies import Remedy
    from kmcl_platform.data.manifest.manifest import Manifest
    from kmcl_platform.data.manifest.table_errors import Fault

Progress = Callable[[str, int, int], None]
"""Is called with the work's name, the part that is done, and the whole."""


@dataclass(frozen=True)
class Dataset(Shown):
    """A dataset in a file.

    Attributes:
        manifest: its images, labels and splits.
        path: the file or URI.
        notes: what is worth knowing about it.
    """

    manifest: "Manifest"
    path: str
    notes: tuple["Fault", ...] = ()

    def parts(self) -> Iterable[RenderableType]:
        """The counts of the splits, and the notes."""
        from kmcl_platform.data.manifest.split_counts import to_table
        from kmcl_platform.data.manifest.table_errors import describe_faults

        yield to_table(self.manifest)
        if self.notes:
            yield "worth knowing:"
            yield from describe_faults(self.notes)
        if packing := self.manifest.packing:
            size = sum(shard.num_bytes for shard in packing.shards.values())
            yield f"packed: {count_of(len(packing.shards), 'shard')}, {size / 1e6:,.1f} MB"


@dataclass(frozen=True)
class DataCheck(Shown):
    """What the check of a manifest found.

    Attributes:
        report: all faults and warnings.
        remedies: the commands that repair copies of pictures.
        path: the file or URI, for messages.
    """

    report: "CheckReport"
    remedies: tuple["Remedy", ...]
    path: str

    @property
    def is_fit(self) -> bool:
        """Whether a search on it would be right."""
        return not self.report.faults

    def parts(self) -> Iterable[RenderableType]:
        """The counts of the splits, then warnings and faults by kind."""
        from kmcl_platform.data.manifest.split_counts import to_table
        from kmcl_platform.data.manifest.table_errors import describe_faults

        if self.report.manifest is not None:
            yield to_table(self.report.manifest)
        for title, found in (("worth knowing:", self.report.warnings), ("faults:", self.report.faults)):
            if found:
                yield title
                yield from describe_faults(found)
        if self.is_fit:
            yield f"fit for a search: data.source: {self.path}"

    def to_json(self) -> str:
        """The report as JSON, with every fault."""
        from kmcl_platform.data.check.json_report import to_json

        return to_json(self.report, self.remedies)


def import_data(
    kind: str,
    root: AnyPath,
    out: AnyPath,
    *,
    plugin: AnyPath | None = None,
    name: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Dataset:
    """Read a dataset in its official layout, or a table of your own, and write its manifest; images stay in place.

    Args:
        kind: `voc`, `coco`, `adp`, `chestxray14`, `table`, `manifest`, or the name of a reader in `plugin`.
        root: the folder of the layout, or the file of `table` and `manifest`.
        out: the manifest to write, `*.parquet`.
        plugin: a Python file with a reader of your own (docs/plugins.md).
        name: of the dataset. None: that of the layout or of the table.
        overwrite: replace a file that exists.
        progress: see `Progress`.
        options: of the reader (docs/data.md), such as `labels_column="tags"` or `year="2007"`.

    Raises:
        DataError: the kind or an option is unknown, or the dataset has faults; a `FaultyTable` has all of them.
    """
    from kmcl_platform.components.readers.reading import build_reader, list_readers, read_dataset, to_words
    from kmcl_platform.data.manifest.import_command import ImportCommand
    from kmcl_platform.data.manifest.parquet import write_manifest
    from kmcl_platform.data.manifest.relative_paths import place_manifest
    from kmcl_platform.data.progress import silent

    source, target, readers = as_path(root, "root"), as_path(out, "out"), list_readers(plugin)
    if kind not in readers:
        raise DataError(f"kind: got {show_value(kind)}; valid: {', '.join(readers)}")
    if target.suffix != ".parquet":
        raise DataError(
            f"{show_path(target)}: got a name that ends in {target.suffix!r}; valid: the path of a manifest (*.parquet)"
        )
    check_new(target, overwrite=overwrite)
    # The table may have columns that a manifest does not keep, and the copies that are left out.
    if is_same_file(target, source):
        raise DataError(f"OUT: got {show_path(target)}, the file that is read; valid: another file")
    reader = build_reader(readers[kind], options)
    notes: list[Fault] = []
    manifest = read_dataset(reader, source, progress=progress or silent, notes=notes)
    if name is not None:
        manifest = replace(manifest, name=name)
    # The folder's real path, without links: relative paths in the manifest begin there.
    place = target.parent.resolve() / target.name
    # The manifest keeps the command that made it, so that a check can name the one that repairs it.
    words = to_words(reader, options)
    command = ImportCommand(kind, str(source.absolute()), words, str(Path(plugin).absolute()) if plugin else "")
    placed = place_manifest(manifest, place.parent)
    write_manifest(placed, place, command=command)
    return Dataset(manifest, show_path(target), tuple(notes))


def check_data(file: AnyPath, *, progress: Progress | None = None) -> DataCheck:
    """Find every fault of a manifest; all images are decoded.

    Raises:
        DataError: the file is missing or is not a manifest at all.
    """
    from kmcl_platform.data.check.check import check_manifest
    from kmcl_platform.data.check.remedies import find_remedies
    from kmcl_platform.data.progress import silent
    from kmcl_platform.data.storage.location import parse_location

    location = parse_location(str(file))
    report = check_manifest(str(file), progress or silent)
    shown = show_path(str(file) if location.path else str(location))
    return DataCheck(report, tuple(find_remedies(report, str(file))), shown)


def describe_data(file: AnyPath, out: AnyPath | None = None, *, overwrite: bool = False) -> Dataset:
    """Write a page about the labels of a manifest: imbalance, labels per image, classes that occur together, drift.

    Args:
        file: the manifest.
        out: the page, `*.html`. None: next to the manifest, with its name; for a URI, in the current folder.
        overwrite: replace a file that exists.

    Returns:
        The dataset; its `path` is that of the page.

    Raises:
        DataError: the manifest cannot be read, or the page cannot be written.
    """
    from kmcl_platform.data.storage.location import parse_location

    # Checked before the manifest is read, which may take long or need the network.
    location = parse_location(str(file))
    page = Path(out) if out else (Path(file) if location.path else Path(location.name)).with_suffix(".html")
    if page.suffix != ".html":
        raise DataError(
            f"{show_path(page)}: got a name that ends in {page.suffix!r}; valid: the path of a page (*.html)"
        )
    check_new(page, overwrite=overwrite)
    from kmcl_platform.data.manifest.parquet import read_manifest
    from kmcl_platform.data.report.page import write_page

    manifest = read_manifest(str(file))
    write_page(manifest, page)
    return Dataset(manifest, show_path(page))


def pack_data(
    file: AnyPath,
    out: AnyPath,
    *,
    shard_size: int | str = "256MiB",
    row_group_images: int = 64,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Write the images of a manifest as Parquet shards into a folder, or a URI such as `s3://bucket/prefix`.

    Args:
        file: the manifest.
        out: the folder. `OUT/manifest.parquet` is then a manifest like any other.
        shard_size: the largest size of a shard, in bytes or as text.
        row_group_images: images that are read together.
        seed: of the shuffle in each split.
        overwrite: replace an earlier packing.
        progress: see `Progress`.

    Raises:
        DataError: an image or the manifest cannot be read, or the folder cannot be written.
    """
    from kmcl_platform.data.manifest.parquet import read_manifest
    from kmcl_platform.data.pack.write_shards import MANIFEST_NAME, pack
    from kmcl_platform.data.progress import silent
    from kmcl_platform.data.storage.byte_sizes import parse_size
    from kmcl_platform.data.storage.location import parse_location

    location, name = parse_location(str(out)), str(out)
    packed = pack(
        read_manifest(str(file)),
        location,
        shard_bytes=parse_size(shard_size) if isinstance(shard_size, str) else shard_size,
        group_images=row_group_images,
        seed=seed,
        overwrite=overwrite,
        progress=progress or silent,
    )
    # A path is shown as the user wrote it, a URI with all its parameters, which are part of the address.
    is_path = location.path and "://" not in name
    return Dataset(packed, f"{name.rstrip('/')}/{MANIFEST_NAME}" if is_path else str(location.join(MANIFEST_NAME)))
