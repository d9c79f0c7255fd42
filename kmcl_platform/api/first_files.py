"""From a user's data to a search file."""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType

from kmcl_platform.api.datasets import AnyPath, Dataset, Progress, import_data
from kmcl_platform.api.pages import check_new, write_text
from kmcl_platform.errors import ConfigError
from kmcl_platform.files.file_status import is_folder
from kmcl_platform.files.given_path import as_path
from kmcl_platform.messages import show_path, show_value
from kmcl_platform.shown import Shown

if TYPE_CHECKING:
    from kmcl_platform.config.search_file import SearchFile


@dataclass(frozen=True)
class FirstFile(Shown):
    """A search file that was written for a dataset and this machine.

    Attributes:
        path: the search file.
        file: what is in it.
        dataset: the manifest that was written. None: the data was a manifest already.
        reasons: how the data was recognised.
    """

    path: Path
    file: "SearchFile"
    dataset: Dataset | None
    reasons: tuple[str, ...]

    def parts(self) -> Iterable[RenderableType]:
        """How the data was recognised, and the counts of its splits."""
        yield from self.reasons
        if self.dataset:
            yield from self.dataset.parts()
            yield f"written: {self.dataset.path}"
        yield f"written: {show_path(self.path)}, with the reason of each choice"


def init(
    data: AnyPath,
    *,
    name: str | None = None,
    out: AnyPath | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FirstFile:
    """Look at data and at this machine, and write a search file that fits, and the manifest that it reads.

    Args:
        data: a table of labels (CSV, Parquet), a manifest, or a folder: of VOC, MS-COCO, ADP or ChestX-ray14, with one
            table beside the images, or with a folder of images for each class.
        name: of the search and of its manifest. None: made of the data's name.
        out: the search file. None: NAME.yaml.
        overwrite: replace files that exist.
        progress: see `Progress`.

    Raises:
        ConfigError: the name is not valid, or a file exists or cannot be written.
        DataError: nothing there can be read as a dataset.
    """
    from kmcl_platform.config.search_file import NAME_PATTERN
    from kmcl_platform.config.search_file_reader import parse_search_file
    from kmcl_platform.data.discover.dataset import CLASS_FOLDERS, MANIFEST, find_dataset, labels_text
    from kmcl_platform.data.manifest.parquet import read_manifest
    from kmcl_platform.files.kept_files import unchanged_on_error
    from kmcl_platform.search.plan.first_file import find_machine, first_file, measure_dataset, search_name

    source = as_path(data, "data", "the path of a table, of a manifest or of a folder")
    # Not `Path.resolve`, which raises an error for links that lead to one another.
    name_of_data = Path(os.path.realpath(source)).stem
    search = search_name(name_of_data) if name is None else name
    if not isinstance(search, str) or not NAME_PATTERN.fullmatch(search):
        raise ConfigError(f"--name: got {show_value(search)}; valid: lower-case letters, digits, - and _, at most 63")
    path = Path(f"{search}.yaml") if out is None else as_path(out, "out")
    if show_path(path) != str(path) or path.suffix == ".parquet" or not is_folder(path.parent):
        raise ConfigError(
            f"{show_path(path)}: cannot be written; valid: a name in UTF-8, such as {search}.yaml, in a folder that "
            "exists"
        )
    found = find_dataset(source)
    check_new(path, overwrite=overwrite)
    manifest, labels = path.with_suffix(".parquet"), path.with_name(f"{path.stem}_labels.csv")
    dataset = None
    with ExitStack() as stack:
        try:
            stack.enter_context(unchanged_on_error((path, manifest, labels)))
        except OSError as error:
            raise ConfigError(
                f"{show_path(path)}: cannot be written: {error.strerror}; valid: a file in a folder to write to"
            ) from None
        if found.kind == MANIFEST:
            manifest = found.root
        else:
            kind, root = found.kind, found.root
            if kind == CLASS_FOLDERS:
                kind, root = "table", write_text(labels, labels_text(found.labels), overwrite=overwrite)
            options = {
                word.removeprefix("--").replace("-", "_"): value
                for word, value in zip(found.words[::2], found.words[1::2], strict=True)
            }
            # A published dataset has a name of its own.
            named = search if name is not None or kind == "table" else None
            dataset = import_data(kind, root, manifest, name=named, overwrite=overwrite, progress=progress, **options)
        text = first_file(search, str(manifest), measure_dataset(read_manifest(manifest)), find_machine())
        file = parse_search_file(text.encode(), show_path(path))
        write_text(path, text, overwrite=overwrite)
    return FirstFile(path, file, dataset, found.reasons)
