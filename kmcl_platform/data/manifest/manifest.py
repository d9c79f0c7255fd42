"""The manifest: every dataset as one checked Parquet table, a row for each image."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmcl_platform.data.manifest.class_names import FIT_NAME, is_fit_name
from kmcl_platform.data.storage.object_store import one_line
from kmcl_platform.data.storage.shard_index import Packing, to_facts
from kmcl_platform.data.storage.shard_reader import ShardReader
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_value

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Manifest:
    """A dataset of N images and K classes, as `build_manifest` and `read_manifest` make it after all checks."""

    name: str
    version: str
    class_names: tuple[str, ...]
    table: pa.Table
    """Columns `split` (string), `image` (string: a path) or `bytes` (binary: an encoded image), and `targets`
    (fixed-size list of K int8: 1 positive, 0 negative, -1 unknown)."""
    content_hash: str
    """sha256, hexadecimal, of class names, splits, targets, image bytes or paths, and shards; not of their Parquet
    encoding."""
    root: Path | None
    """Folder that relative image paths start from; None: the current folder."""
    packing: Packing | None = None
    """The shards that contain the images; None: `image` is a path, or `bytes` the image."""

    def split(self, name: str) -> pa.Table:
        """The rows of one split, in the table's order. Without that split, there are no rows.

        Raises:
            DataError: `name` is not one of `SPLITS`.
        """
        if name not in SPLITS:
            raise DataError(f"manifest {self.name!r}: split: got {show_value(name)}; valid: {', '.join(SPLITS)}")
        return self.table.filter(pc.equal(self.table["split"], name))

    def encoded_image(self, split: str, row: int) -> bytes:
        """The encoded bytes of one image.

        Raises:
            DataError: the split or the image's file does not exist, or its shard is cut off or altered.
        """
        rows = self.split(split)
        if "bytes" in rows.column_names:
            data: bytes = rows["bytes"][row].as_py()
            return data
        if self.packing is not None:
            return ShardReader(self.packing).read(rows["image"][row].as_py())
        path: Path = (self.root or Path()) / rows["image"][row].as_py()
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); valid: an image file") from None

    def targets(self, split: str) -> np.ndarray:
        """Targets of one split: (N, K) int8 of 1 positive, 0 negative, -1 unknown.

        Raises:
            DataError: `split` is not one of `SPLITS`.
        """
        return targets_to_numpy(self.split(split)["targets"], len(self.class_names))


def build_manifest(
    *,
    name: str,
    version: str,
    class_names: Sequence[str],
    splits: Sequence[str],
    images: Sequence[str] | Sequence[bytes],
    targets: np.ndarray,
    root: Path | None = None,
) -> Manifest:
    """Check N rows and make a manifest out of them.

    Args:
        splits: N names out of `SPLITS`.
        images: N paths (text), or N encoded images (bytes).
        targets: (N, K) whole numbers: 1 positive, 0 negative, -1 unknown.
        root: folder that relative paths start from.

    Raises:
        DataError: lengths differ, or a class name, split, image or target is not valid.
    """
    where = f"manifest {name!r}"
    shape = (len(splits), len(class_names))
    if targets.shape != shape:
        raise DataError(f"{where}: targets: got shape {targets.shape}; valid: {shape}, rows by classes")
    if len(images) != len(splits):
        raise DataError(f"{where}: images: got {len(images)} for {len(splits)} splits; valid: as many as splits")
    if targets.dtype.kind not in "iub":
        raise DataError(f"{where}: targets: got type {targets.dtype}; valid: whole numbers -1, 0, 1")
    encoded = len(images) > 0 and isinstance(images[0], bytes)
    # pyarrow would turn a text among bytes into bytes, and bytes among texts into text.
    if any(isinstance(image, bytes) != encoded for image in images):
        raise DataError(f"{where}: images: got text and bytes; valid: all text, or images all bytes")
    try:
        table = pa.table(
            {
                "split": pa.array(splits, pa.string()),
                "bytes" if encoded else "image": pa.array(images, pa.binary() if encoded else pa.string()),
            }
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
        raise DataError(
            f"{where}: images and splits: {one_line(error)}; valid: all text, or images all bytes"
        ) from None
    return checked_manifest(where, name, version, tuple(class_names), table, targets, root)


def checked_manifest(
    where: str,
    name: str,
    version: str,
    class_names: tuple[str, ...],
    table: pa.Table,
    targets_NK: np.ndarray,
    root: Path | None,
    packing: Packing | None = None,
) -> Manifest:
    """Check splits and images of `table` and the targets, and bring them into the manifest's own column types."""
    repeated = sorted({str(c) for c in class_names if class_names.count(c) > 1})
    if not class_names or repeated or "" in class_names:
        raise DataError(
            f"{where}: class names: got {show_value(repeated or list(class_names))}; valid: one or more, distinct"
        )
    unfit = next((name for name in class_names if not is_fit_name(name)), None)
    if unfit is not None:
        raise DataError(f"{where}: class names: got {show_value(unfit)}; valid: {FIT_NAME}")
    if not table.num_rows:
        raise DataError(f"{where}: got no rows; valid: one row for each image")
    image_column = "bytes" if "bytes" in table.column_names else "image"
    splits = _cast(where, "split", table["split"], pa.string())
    images = _cast(where, image_column, table[image_column], pa.binary() if image_column == "bytes" else pa.string())
    known = pc.is_in(splits, value_set=pa.array(SPLITS))
    if not pc.all(known).as_py():
        row = pc.index(known, False).as_py()
        raise DataError(
            f"{where}: row {row}, column 'split': got {show_value(splits[row].as_py())}; valid: {', '.join(SPLITS)}"
        )
    empty = pc.index(pc.binary_length(images), 0).as_py()
    if empty >= 0:
        raise DataError(f"{where}: row {empty}, column {image_column!r}: got nothing; valid: an image")
    # Before the conversion to int8, in which 257 would become 1.
    outside = np.argwhere((targets_NK < -1) | (targets_NK > 1))
    if outside.size:
        row, k = outside[0]
        raise DataError(f"{where}: row {row}, class {class_names[k]!r}: got {targets_NK[row, k]}; valid: -1, 0, 1")
    # One type and one layout in memory, because the hash is over these bytes.
    targets_NK = np.ascontiguousarray(targets_NK, dtype=np.int8)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(targets_NK.reshape(-1)), len(class_names))
    return Manifest(
        name=name,
        version=version,
        class_names=class_names,
        table=pa.table({"split": splits, image_column: images, "targets": lists}),
        content_hash=_hash_content(class_names, splits, image_column, images, targets_NK, packing),
        root=root,
        packing=packing,
    )


def _cast(where: str, column: str, values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    # pandas stores repeated texts as a dictionary. Other types are refused: a cast of numbers to text would never fail.
    stored = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    texts = (pa.string(), pa.large_string(), pa.string_view())
    if stored not in (texts if kind == pa.string() else (pa.binary(), pa.large_binary(), pa.binary_view())):
        raise DataError(f"{where}: column {column!r}: got type {values.type}; valid: {kind}")
    check_no_nulls(where, column, values, str(kind))
    return values.cast(kind)


def check_no_nulls(where: str, column: str, values: pa.ChunkedArray, valid: str) -> None:
    if values.null_count:
        row = pc.index(pc.is_null(values), True).as_py()
        raise DataError(f"{where}: row {row}, column {column!r}: got an empty value; valid: {valid}")


def whole_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of whole numbers or booleans as int64.

    An unsigned number that int64 cannot hold becomes the largest int64. Neither is a target, but a plain cast would
    turn 2^64 - 1 into the target -1.
    """
    if pa.types.is_uint64(column.type):
        largest = pa.scalar(np.iinfo(np.int64).max, pa.uint64())
        column = pc.min_element_wise(column, largest, skip_nulls=False)
    return column.cast(pa.int64())


def targets_to_numpy(column: pa.ChunkedArray, num_classes: int) -> np.ndarray:
    targets_NK: np.ndarray = pc.list_flatten(column).to_numpy().reshape(-1, num_classes)
    return targets_NK


def _hash_content(
    class_names: tuple[str, ...],
    splits: pa.ChunkedArray,
    image_column: str,
    images: pa.ChunkedArray,
    targets_NK: np.ndarray,
    packing: Packing | None,
) -> str:
    digest = hashlib.sha256(json.dumps([class_names, image_column, splits.to_pylist()]).encode())
    # Not the bytes of the Parquet file: they depend on the version of the writer and on its compression.
    digest.update(targets_NK.tobytes())
    # Lengths first: without them, "ab" + "c" and "a" + "bc" would have the same hash.
    digest.update(pc.binary_length(images).to_numpy().astype("<i8").tobytes())
    for image in images:
        # Without a copy: encoded images may be large.
        digest.update(image.as_buffer())
    if packing is not None:
        digest.update(json.dumps(to_facts(packing)).encode())
    return digest.hexdigest()
