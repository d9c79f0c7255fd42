"""Prediction over a folder or a manifest, into a Parquet file.

Legend of shapes: N images, B batch, K classes.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmcl_platform.config.store import NO_ROOM, no_room
from kmcl_platform.data.loading.dataset import UnreadableImage
from kmcl_platform.data.loading.image_files import find_images as find_images  # callers find all inputs here
from kmcl_platform.data.loading.loader import build_loader
from kmcl_platform.data.loading.samplers import ShardedSequence
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.errors import DataError
from kmcl_platform.files.atomic_write import atomic_file
from kmcl_platform.files.file_status import is_folder
from kmcl_platform.messages import show_path
from kmcl_platform.registry.model.load import RegisteredModel, check_takes_images
from kmcl_platform.registry.model.predictor import BATCH_SIZE
from kmcl_platform.registry.model.schema import IMAGE_COLUMN, TARGET_PREFIX
from kmcl_platform.training.build import build_dataset

Progress = Callable[[str, int, int], None]
ROW_GROUP = 4096
"""Rows that are kept in memory and written together, or a few more; a Parquet file of small groups is slow to read."""


@dataclass(frozen=True)
class Images:
    """The images of a batch prediction.

    Attributes:
        manifest: has the images.
        split: the split to predict.
        names: the name of each image in the result, in the split's order.
        has_targets: whether the manifest is the user's own. Its targets are then written next to the predictions.
    """

    manifest: Manifest
    split: str
    names: Sequence[str]
    has_targets: bool


def images_of_paths(paths: Sequence[Path], class_names: Sequence[str]) -> Images:
    """Image files, for a batch prediction.

    Raises:
        DataError: a path is not UTF-8, as Parquet files need.
    """
    names = [str(path) for path in paths]
    foreign = [name for name in names if show_path(name) != name]
    if foreign:
        more = f" and {len(foreign) - 1:,} more" if len(foreign) > 1 else ""
        raise DataError(
            f"{show_path(foreign[0])}{more}: got a name that is not UTF-8; valid: names that a Parquet file can hold "
            "(`convmv -f latin1 -t utf8 -r --notest FOLDER` renames files of old archives)"
        )
    manifest = build_manifest(
        name="images",
        version="",
        class_names=class_names,
        # Images of any split but `train` are prepared without augmentation, and a corrupt one is an error.
        splits=["test"] * len(names),
        images=names,
        # -1: unknown.
        targets=np.full((len(names), len(class_names)), -1),
    )
    return Images(manifest, "test", names, has_targets=False)


def images_of_manifest(manifest: Manifest, split: str, class_names: Sequence[str]) -> Images:
    """One split of a manifest, for a batch prediction.

    Raises:
        DataError: the split is unknown or has no images, or the manifest's classes are not the model's.
    """
    missing = [name for name in class_names if name not in manifest.class_names]
    unknown = [name for name in manifest.class_names if name not in class_names]
    if missing or unknown:
        differences = [f"lacks {_listed(missing)}"] * bool(missing) + [f"also has {_listed(unknown)}"] * bool(unknown)
        raise DataError(
            f"manifest {manifest.name!r}: classes: {' and '.join(differences)}; valid: the model's {len(class_names)} "
            "classes, in any order"
        )
    rows = manifest.split(split)
    if not rows.num_rows:
        raise DataError(
            f"manifest {manifest.name!r}: split: got {split!r}, which has no images; valid: a split with images"
        )
    # An image that is embedded in the manifest has no name, only a place.
    embedded = "bytes" in rows.column_names
    names = [f"{split}#{row}" for row in range(rows.num_rows)] if embedded else rows["image"].to_pylist()
    return Images(manifest, split, names, has_targets=True)


def predict_to_parquet(
    model: RegisteredModel, images: Images, out: Path, progress: Progress, *, overwrite: bool = True
) -> int:
    """Score images in batches into a file, completely or not at all. Memory does not depend on the number of images.

    Args:
        model: its classes are those of the images' manifest.
        images: N of them.
        out: the new file. Columns: `image`, then those of `registry.model.schema`.
        progress: is called after each batch with "images", the number of scored images, and N.
        overwrite: replace a file of that name, even one that appears during the prediction.

    Returns:
        N.

    Raises:
        DataError: the model takes no images, an image cannot be read, or the file cannot be written or exists.
        StoreError: the disk is full.
    """
    check_takes_images(model)
    if not is_folder(out.parent):
        raise DataError(f"{show_path(out)}: got a folder that does not exist; valid: a file in an existing folder")
    total, done = len(images.names), 0
    try:
        # Another process may write a file of that name during a long prediction.
        with atomic_file(out, replace=overwrite) as draft, _Groups(draft) as groups:
            for table in _tables(model, images):
                groups.add(table)
                done += table.num_rows
                progress("images", done, total)
    except FileExistsError:
        raise DataError(f"{show_path(out)}: exists; valid: a new file, or --overwrite") from None
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(out.parent) from None
        raise DataError(
            f"{show_path(out)}: cannot be written ({error.strerror}); valid: a folder that this user can write to"
        ) from None
    except UnreadableImage as error:
        if images.has_targets:
            raise
        # The user knows the file. The manifest in the message was made from it in this module.
        raise DataError(str(error).partition(", image ")[2]) from None
    return done


class _Groups:
    """A Parquet file to which tables are added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.Table] = []

    def __enter__(self) -> "_Groups":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        # After an error the caller removes the file, so its last rows are not written; it is only closed.
        if kind is None:
            self._write()
        if self._writer is not None:
            self._writer.close()

    def add(self, table: pa.Table) -> None:
        self._held.append(table)
        if sum(part.num_rows for part in self._held) >= ROW_GROUP:
            self._write()

    def _write(self) -> None:
        if not self._held:
            return
        table = pa.concat_tables(self._held)
        self._held = []
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table, row_group_size=table.num_rows)


def _tables(model: RegisteredModel, images: Images) -> Iterator[pa.Table]:
    """The predictions, one batch after the other."""
    predictor = model.predictor
    dataset = build_dataset(predictor.config, images.manifest, images.split)
    loader = build_loader(
        dataset,
        ShardedSequence(len(dataset), rank=0, world_size=1),
        batch_size=BATCH_SIZE,
        drop_last=False,
        # The number was chosen for the machine of the search, which may have more cores than this one.
        processes=min(predictor.config.data.loader_processes, os.cpu_count() or 1),
        pin_memory=False,
    )
    # A manifest may have the model's classes in another order.
    order = [images.manifest.class_names.index(name) for name in predictor.class_names]
    start = 0
    for images_B3HW, targets_BK in loader:
        prediction = predictor.predict_pixels(images_B3HW)
        columns: dict[str, Any] = {IMAGE_COLUMN: list(images.names[start : start + len(targets_BK)])}
        columns |= predictor.to_columns(prediction)
        if images.has_targets:
            for name, k in zip(predictor.class_names, order, strict=True):
                columns[f"{TARGET_PREFIX}{name}"] = targets_BK[:, k].numpy()
        start += len(targets_BK)
        yield pa.table(columns).replace_schema_metadata({"kmcl.model": model.uri})


def _listed(names: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(repr, names[:shown])) + more
