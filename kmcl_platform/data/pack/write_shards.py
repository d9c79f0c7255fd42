"""Packing: a manifest's images as Parquet shards, in a folder or at a URI, with a manifest that names them.

The manifest is written last: who sees it sees whole shards.
"""

import contextlib
import hashlib
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmcl_platform.data.manifest.manifest import SPLITS, Manifest, checked_manifest, targets_to_numpy
from kmcl_platform.data.manifest.parquet import read_manifest, to_stored_table
from kmcl_platform.data.pack.image_source import ImageSource
from kmcl_platform.data.pack.shard_plan import ShardPlan, plan_shards
from kmcl_platform.data.progress import Progress
from kmcl_platform.data.storage.object_store import Location, exists, one_line, put_file, remove_file
from kmcl_platform.data.storage.shard_index import Packing, Shard
from kmcl_platform.errors import DataError

MANIFEST_NAME = "manifest.parquet"
SHARD_BYTES = 256 * 2**20
GROUP_IMAGES = 64
_READING_THREADS = 8
_SHARD_NAME = re.compile(rf"({'|'.join(SPLITS)})-\d{{5,}}-of-\d{{5,}}-[0-9a-f]{{8}}\.parquet")

_logger = logging.getLogger(__name__)


def pack(
    manifest: Manifest,
    out: Location,
    *,
    shard_bytes: int = SHARD_BYTES,
    group_images: int = GROUP_IMAGES,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress,
) -> Manifest:
    """Write a manifest's images, as they are encoded, into shards and a manifest of them into `out`.

    The images of a split are shuffled, so that each row group is a fair mix of it. Nothing is decoded: an image that is
    corrupt is packed as it is. Shards that an earlier manifest in `out` names stay until the new one stands.

    Args:
        out: a folder; made if needed.
        shard_bytes: a shard is closed before it would grow beyond this; one row group always fits.
        group_images: images in a row group, which is what is read at once.
        seed: of the shuffle, 0 or more.
        overwrite: replace what was packed into `out` earlier.
        progress: hears how many images are done.

    Returns:
        The packed manifest.

    Raises:
        FaultyTable: images are missing or cannot be read; names each by row.
        DataError: `out` holds a packed dataset and is not to be overwritten, or cannot be written. What was written is
            removed again.
    """
    if min(shard_bytes, group_images) < 1:
        raise ValueError(f"shard_bytes, group_images: got {shard_bytes}, {group_images}; valid: 1 or more")
    target = out.join(MANIFEST_NAME)
    earlier = _find_earlier(target, overwrite)
    source = ImageSource(manifest)
    plans = plan_shards(manifest, source.sizes(), shard_bytes, group_images, seed)
    try:
        with _stage(out) as stage:
            packed = _write(manifest, plans, source, out, stage, group_images, progress)
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {one_line(error)}; valid: a writable place") from None
    _remove_shards(out, earlier)
    return packed


def _write(
    manifest: Manifest,
    plans: list[ShardPlan],
    source: ImageSource,
    out: Location,
    stage: Path,
    group_images: int,
    progress: Progress,
) -> Manifest:
    """Write all shards, then the manifest; if that fails, remove the shards that no manifest in `out` names."""
    total = manifest.table.num_rows
    done = 0
    shards: list[Shard] = []

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress("images", done, total)

    try:
        for plan in plans:
            with _temporary(stage, plan.name) as file:
                _write_shard(file, plan, source, group_images, advance)
                shards.append(_describe(file, plan, group_images))
                put_file(file, out.join(plan.name))
        packed = _packed_manifest(manifest, plans, shards, out)
        with _temporary(stage, MANIFEST_NAME) as file:
            pq.write_table(to_stored_table(packed), file)
            put_file(file, out.join(MANIFEST_NAME))
    except BaseException:
        _remove_shards(out, {shard.name for shard in shards})
        raise
    return packed


def _remove_shards(out: Location, names: set[str]) -> None:
    """Remove shards, except those that the manifest in `out` names now.

    Another process may have packed into the same place meanwhile. If that manifest cannot be read, nothing is removed.
    Files with other names than shards have are never removed.
    """
    target = out.join(MANIFEST_NAME)
    try:
        named = _find_earlier(target, overwrite=True)
    except DataError as error:
        _logger.warning("shards in %s are not removed, because the manifest there cannot be read: %s", out, error)
        return
    for name in sorted(names - named):
        if _SHARD_NAME.fullmatch(name):
            remove_file(out.join(name))


@contextlib.contextmanager
def _temporary(stage: Path, name: str) -> Iterator[Path]:
    file = stage / f".{name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def _find_earlier(target: Location, overwrite: bool) -> set[str]:
    """The names of the shards that an earlier manifest names."""
    if not exists(target):
        return set()
    if not overwrite:
        raise DataError(f"{target}: exists; valid: a new folder, or --overwrite")
    packing = read_manifest(str(target.path) if target.path else target.uri).packing
    if packing is None:
        raise DataError(f"{target}: is not of a packed dataset; valid: another folder")
    return set(packing.shards)


@contextlib.contextmanager
def _stage(out: Location) -> Iterator[Path]:
    """A folder for files that are not whole yet: `out` itself, where a rename is then enough, or a temporary one."""
    if out.path is None:
        with tempfile.TemporaryDirectory(prefix="kmcl-pack-") as folder:
            yield Path(folder)
        return
    made = [parent for parent in (out.path, *out.path.parents) if not parent.exists()]
    out.path.mkdir(parents=True, exist_ok=True)
    try:
        yield out.path
    except BaseException:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def _write_shard(
    file: Path, plan: ShardPlan, source: ImageSource, group_images: int, advance: Callable[[int], None]
) -> None:
    schema = pa.schema([pa.field("bytes", pa.binary(), nullable=False)])
    # JPEG and PNG do not compress, and no two images are alike. The checksums are what a reader in place holds on to.
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
    with pq.ParquetWriter(file, schema, **options) as writer, ThreadPoolExecutor(_READING_THREADS) as pool:
        for start in range(0, len(plan.rows), group_images):
            rows = plan.rows[start : start + group_images].tolist()
            images = source.check(list(pool.map(source.read, rows)))
            writer.write_table(pa.table([pa.array(images, pa.binary())], schema=schema), row_group_size=len(images))
            advance(len(images))


def _describe(file: Path, plan: ShardPlan, group_images: int) -> Shard:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Shard(plan.name, len(plan.rows), group_images, file.stat().st_size, digest)


def _packed_manifest(manifest: Manifest, plans: list[ShardPlan], shards: list[Shard], out: Location) -> Manifest:
    rows = np.concatenate([plan.rows for plan in plans])
    images = [f"{plan.name}#{row}" for plan in plans for row in range(len(plan.rows))]
    table = manifest.table.select(["split", "targets"]).take(pa.array(rows)).append_column("image", pa.array(images))
    return checked_manifest(
        f"manifest {manifest.name!r}",
        manifest.name,
        manifest.version,
        manifest.class_names,
        table,
        targets_to_numpy(table["targets"], len(manifest.class_names)),
        out.path,
        Packing(out, {shard.name: shard for shard in shards}),
    )
