"""The manifest: every dataset as one checked Parquet table, a row for each image."""

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kmcl_platform.errors import DataError

SPLITS = ("train", "val", "test")
_METADATA_KEY = b"kmcl"


@dataclass(frozen=True)
class Manifest:
    """A dataset of N images and K classes. Made by `build_manifest` or `read_manifest`, which check everything."""

    name: str
    version: str
    class_names: tuple[str, ...]
    table: pa.Table
    """Columns `split` (string), `image` (string: a path) or `bytes` (binary: an encoded image), and `targets`
    (fixed-size list of K int8: 1 positive, 0 negative, -1 unknown)."""
    content_hash: str
    """sha256, hexadecimal, of class names, splits, targets and image bytes or paths; not of their Parquet encoding."""
    root: Path | None
    """Folder that relative image paths start from; None: the current folder."""

    def split(self, name: str) -> pa.Table:
        """The rows of one split, in the table's order; no rows if the manifest lacks that split.

        Raises:
            DataError: `name` is not one of `SPLITS`.
        """
        if name not in SPLITS:
            raise DataError(f"manifest {self.name!r}: split: got {name!r}; valid: {', '.join(SPLITS)}")
        return self.table.filter(pc.equal(self.table["split"], name))

    def encoded_image(self, split: str, row: int) -> bytes:
        """The encoded bytes of one image.

        Raises:
            DataError: the split or the image's file does not exist.
        """
        rows = self.split(split)
        if "bytes" in rows.column_names:
            data: bytes = rows["bytes"][row].as_py()
            return data
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
        return _targets_to_numpy(self.split(split)["targets"], len(self.class_names))


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
    """Check N rows and make a manifest of them.

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
    try:
        table = pa.table(
            {
                "split": pa.array(splits, pa.string()),
                "bytes" if encoded else "image": pa.array(images, pa.binary() if encoded else pa.string()),
            }
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"{where}: images and splits: {_one_line(error)}; valid: all text, or images all bytes"
        ) from None
    return _checked(where, name, version, tuple(class_names), table, targets, root)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest as Parquet; a reader sees the old file or the new one, never half of one.

    Raises:
        DataError: relative image paths would point elsewhere from the new folder, or the file cannot be written.
    """
    path = path.absolute()
    if manifest.root is not None and "image" in manifest.table.column_names and manifest.root.absolute() != path.parent:
        relative = [image for image in manifest.table["image"].to_pylist() if not Path(image).is_absolute()]
        if relative:
            raise DataError(
                f"{path}: image paths are relative to {manifest.root} (first: {relative[0]!r}); "
                "valid: a file in that folder, or absolute paths"
            )
    facts = {
        "name": manifest.name,
        "version": manifest.version,
        "class_names": list(manifest.class_names),
        "content_hash": manifest.content_hash,
    }
    table = manifest.table.replace_schema_metadata({_METADATA_KEY: json.dumps(facts).encode()})
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, temporary)
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {_one_line(error)}; valid: a path in a writable folder") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    A Parquet file without our metadata is accepted if its columns are `image` or `bytes`, `split`, and one whole-number
    (or boolean) column for each class; its name is then the file's stem.

    Raises:
        DataError: the file is missing or not Parquet, a column, length or value is not valid, or the content is not
            what the stored hash says.
    """
    path = path.absolute()
    if not path.is_file():
        raise DataError(f"{path}: no such file; valid: the path of a manifest (*.parquet)")
    try:
        # Not pq.read_table: it takes a folder named `split=train` for a column.
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {_one_line(error)}") from None
    metadata = table.schema.metadata or {}
    where = str(path)
    if _METADATA_KEY not in metadata:
        return _from_class_columns(path, table)
    name, version, class_names, stored_hash = _read_facts(where, metadata[_METADATA_KEY])
    _check_columns(where, table, last="targets")
    targets = _read_target_lists(where, table["targets"], len(class_names))
    manifest = _checked(where, name, version, class_names, table, targets, path.parent)
    if manifest.content_hash != stored_hash:
        raise DataError(
            f"{path}: content hash: got {manifest.content_hash[:12]}…; valid: {stored_hash[:12]}…, "
            "as written: the file was changed"
        )
    return manifest


def _from_class_columns(path: Path, table: pa.Table) -> Manifest:
    if "targets" in table.column_names:
        raise DataError(
            f"{path}: metadata: key 'kmcl' (name, version, class names, hash) is missing; "
            "valid: a file made by write_manifest, or one column for each class instead of 'targets'"
        )
    # Such a column is how pandas stores an index that is not 0, 1, 2, ...
    columns = [column for column in table.column_names if not re.fullmatch(r"__index_level_\d+__", column)]
    class_names = tuple(column for column in columns if column not in ("split", "image", "bytes"))
    _check_columns(str(path), table.select([c for c in columns if c not in class_names]), last=None)
    targets_NK = np.zeros((table.num_rows, len(class_names)), dtype=np.int64)
    for k, column in enumerate(class_names):
        kind = table[column].type
        if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            raise DataError(f"{path}: column {column!r}: got type {kind}; valid: a class, whole numbers -1, 0, 1")
        _check_no_nulls(str(path), column, table[column], "-1, 0, 1")
        targets_NK[:, k] = table[column].to_numpy()
    return _checked(str(path), path.stem, "", class_names, table, targets_NK, path.parent)


def _read_facts(where: str, encoded: bytes) -> tuple[str, str, tuple[str, ...], str]:
    try:
        facts = json.loads(encoded)
        texts = [facts["name"], facts["version"], facts["content_hash"], *facts["class_names"]]
    except (ValueError, KeyError, TypeError):
        texts = [None]
    if not all(isinstance(text, str) for text in texts):
        raise DataError(
            f"{where}: metadata: key 'kmcl': got {encoded[:60]!r}; "
            "valid: JSON with name, version, class_names, content_hash"
        )
    return texts[0], texts[1], tuple(texts[3:]), texts[2]


def _check_columns(where: str, table: pa.Table, *, last: str | None) -> None:
    columns = sorted(table.column_names)
    rest = ["split"] if last is None else ["split", last]
    if columns not in (sorted(["image", *rest]), sorted(["bytes", *rest])):
        valid = f"'split', either 'image' or 'bytes', and {'one column for each class' if last is None else repr(last)}"
        raise DataError(f"{where}: columns: got {', '.join(map(repr, columns)) or 'none'}; valid: {valid}")


def _read_target_lists(where: str, column: pa.ChunkedArray, num_classes: int) -> np.ndarray:
    kind = column.type
    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (is_list and pa.types.is_integer(kind.value_type)):
        raise DataError(f"{where}: column 'targets': got type {kind}; valid: lists of {num_classes} int8")
    _check_no_nulls(where, "targets", column, f"lists of {num_classes} int8")
    lengths = pc.list_value_length(column).to_numpy()
    wrong = np.flatnonzero(lengths != num_classes)
    if wrong.size:
        raise DataError(
            f"{where}: row {wrong[0]}, column 'targets': got length {lengths[wrong[0]]}; "
            f"valid: {num_classes}, one for each class"
        )
    if pc.list_flatten(column).null_count:
        raise DataError(f"{where}: column 'targets': got an empty value; valid: -1, 0, 1")
    return _targets_to_numpy(column, num_classes)


def _checked(
    where: str,
    name: str,
    version: str,
    class_names: tuple[str, ...],
    table: pa.Table,
    targets_NK: np.ndarray,
    root: Path | None,
) -> Manifest:
    """Check splits and images of `table` and the targets, and bring them into the manifest's own column types."""
    repeated = sorted({str(c) for c in class_names if class_names.count(c) > 1})
    if not class_names or repeated or "" in class_names:
        raise DataError(f"{where}: class names: got {(repeated or list(class_names))!r}; valid: one or more, distinct")
    if not table.num_rows:
        raise DataError(f"{where}: got no rows; valid: one row for each image")
    image_column = "bytes" if "bytes" in table.column_names else "image"
    splits = _cast(where, "split", table["split"], pa.string())
    images = _cast(where, image_column, table[image_column], pa.binary() if image_column == "bytes" else pa.string())
    known = pc.is_in(splits, value_set=pa.array(SPLITS))
    if not pc.all(known).as_py():
        row = pc.index(known, False).as_py()
        raise DataError(f"{where}: row {row}, column 'split': got {splits[row].as_py()!r}; valid: {', '.join(SPLITS)}")
    empty = pc.index(pc.binary_length(images), 0).as_py()
    if empty >= 0:
        raise DataError(f"{where}: row {empty}, column {image_column!r}: got nothing; valid: an image")
    outside = np.argwhere((targets_NK < -1) | (targets_NK > 1))
    if outside.size:
        row, k = outside[0]
        raise DataError(f"{where}: row {row}, class {class_names[k]!r}: got {targets_NK[row, k]}; valid: -1, 0, 1")
    targets_NK = np.ascontiguousarray(targets_NK, dtype=np.int8)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(targets_NK.reshape(-1)), len(class_names))
    return Manifest(
        name=name,
        version=version,
        class_names=class_names,
        table=pa.table({"split": splits, image_column: images, "targets": lists}),
        content_hash=_hash_content(class_names, splits, image_column, images, targets_NK),
        root=root,
    )


def _cast(where: str, column: str, values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    stored = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    texts = (pa.string(), pa.large_string(), pa.string_view())
    if stored not in (texts if kind == pa.string() else (pa.binary(), pa.large_binary(), pa.binary_view())):
        raise DataError(f"{where}: column {column!r}: got type {values.type}; valid: {kind}")
    _check_no_nulls(where, column, values, str(kind))
    return values.cast(kind)


def _check_no_nulls(where: str, column: str, values: pa.ChunkedArray, valid: str) -> None:
    if values.null_count:
        row = pc.index(pc.is_null(values), True).as_py()
        raise DataError(f"{where}: row {row}, column {column!r}: got an empty value; valid: {valid}")


def _targets_to_numpy(column: pa.ChunkedArray, num_classes: int) -> np.ndarray:
    targets_NK: np.ndarray = pc.list_flatten(column).to_numpy().reshape(-1, num_classes)
    return targets_NK


def _hash_content(
    class_names: tuple[str, ...],
    splits: pa.ChunkedArray,
    image_column: str,
    images: pa.ChunkedArray,
    targets_NK: np.ndarray,
) -> str:
    digest = hashlib.sha256(json.dumps([class_names, image_column, splits.to_pylist()]).encode())
    digest.update(targets_NK.tobytes())
    # Lengths first: without them, "ab" + "c" and "a" + "bc" would hash alike.
    digest.update(pc.binary_length(images).to_numpy().astype("<i8").tobytes())
    for image in images:
        digest.update(image.as_buffer())
    return digest.hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
