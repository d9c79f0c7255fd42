"""A small manifest, and changes to its file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.errors import DataError

TARGETS = np.array([[1, 0, -1], [0, 0, 1], [1, 1, 0], [0, 0, 0]])


def make(**changes: object) -> Manifest:
    arguments: dict[str, object] = {
        "name": "pets",
        "version": "3",
        "class_names": ["cat", "dog", "hen"],
        "splits": ["train", "train", "val", "test"],
        "images": ["a.png", "b.png", "c.png", "d.png"],
        "targets": TARGETS,
    }
    return build_manifest(**(arguments | changes))  # type: ignore[arg-type]


def error_of(call: object, *arguments: object, **keywords: object) -> str:
    with pytest.raises(DataError) as caught:
        call(*arguments, **keywords)  # type: ignore[operator]
    text = str(caught.value)
    assert "\n" not in text
    return text


def rewrite(path: Path, change: object) -> None:
    """Replace the table in a manifest's file, keeping its metadata."""
    table = pq.ParquetFile(path).read()
    metadata = table.schema.metadata
    pq.write_table(change(table).replace_schema_metadata(metadata), path)  # type: ignore[operator]


def replaced(column: str, values: pa.Array) -> object:
    return lambda table: table.set_column(table.column_names.index(column), column, values)
