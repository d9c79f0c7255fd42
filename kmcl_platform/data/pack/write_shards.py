"""Packing: a manifest's images as Parquet shards, in a folder or at a URI, with a manifest that names them.

The manifest is written last, so every shard that a reader finds in a manifest is whole.
"""

import contextlib
import hashlib
import logging
import re
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
from kmcl_platform.data.storage.location import Location
from kmcl_platform.data.storage.object_store import exists, new_file, one_line, remove_file
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
    """Write a manifest's images into shards in `out`, and a manifest that names them.

    The images stay as they are encoded: nothing is decoded, and a corrupt image is packed too. The images of a split
    are shuffled, so that each row group is a random sample of it. Shards that an earlier manifest in `out` names are
    removed when the new manifest has replaced it.

    Args:
        manifest: of any kind; it may be packed itself.
        out: a folder. It is made if needed.
        shard_bytes: the largest size of a shard. A single row group may be larger.
        group_images: images in a row group, which is read as one piece.
        seed: of the shuffle, 0 or more.
        overwrite: replace an earlier packing in `out`.
        progress: is called with the number of images that are done.

    Returns:
        The packed manifest.

    Raises:
        FaultyTable: images are missing or cannot be read. It names each of them by its row.
        DataError: `out` has a packed dataset that is not to be overwritten, or cannot be written. What was written is
            removed again.
    """
    if min(shard_bytes, group_images) < 1:
        raise ValueError(f"shard_bytes, group_images: got {shard_bytes}, {group_images}; valid: 1 or more")
    # Packing may take hours, so what would refuse it is found first.
    _replaced_shards(out, overwrite)
    source = ImageSource(manifest)
    plans = plan_shards(manifest, source.sizes(), shard_bytes, group_images, seed)
    try:
        # After an error the inner block removes the shards first. The outer one can then remove the empty folder.
        with _folder_of(out), _removed_on_failure(out) as written:
            shards = _write_all(plans, source, out, group_images, written, progress)
            packed = _packed_manifest(manifest, plans, shards, out)
            replaced = _write_manifest(packed, out, overwrite)
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {one_line(error)}; valid: a writable folder") from None
    # Last: until the new manifest has its name, the earlier one must find its shards.
    _remove_shards(out, replaced)
    return packed


def _write_all(
    plans: list[ShardPlan],
    source: ImageSource,
    out: Location,
    group_images: int,
    written: set[str],
    progress: Progress,
) -> list[Shard]:
    """Write all shards; the name of each one is added to `written` before it can be in `out`."""
    total = sum(len(plan.rows) for plan in plans)
    done = 0
    shards: list[Shard] = []

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress("images", done, total)

    for plan in plans:
        with new_file(out.join(plan.name)) as file:
            _write_shard(file, plan, source, group_images, advance)
            shards.append(_describe(file, plan, group_images))
            # Still in the block, at whose end the file gets its name: Ctrl-C right after that must find the name here.
            written.add(plan.name)
    return shards


def _write_manifest(packed: Manifest, out: Location, overwrite: bool) -> set[str]:
    """Write the manifest. The names of the shards of the one that it replaces.

    Another process may have packed into `out` since the start, so the manifest that is there now counts.
    """
    replaced = _replaced_shards(out, overwrite)
    try:
        with new_file(out.join(MANIFEST_NAME), replace=overwrite) as file:
            pq.write_table(to_stored_table(packed), file)
    except FileExistsError:
        raise _exists_error(out) from None
    return replaced


@contextlib.contextmanager
def _removed_on_failure(out: Location) -> Iterator[set[str]]:
    """A set for the names of shards. If the block raises, these shards are removed unless a manifest names them."""
    written: set[str] = set()
    try:
        yield written
    except BaseException:
        _remove_shards(out, written)
        raise


def _remove_shards(out: Location, names: set[str]) -> None:
    """Remove shards, except those that the manifest in `out` names now.

    Another process may have packed into the same place meanwhile. If that manifest cannot be read, nothing is removed.
    Files with other names than shards have are never removed.
    """
    try:
        named = _replaced_shards(out, overwrite=True)
    except DataError as error:
        _logger.warning("shards in %s are not removed, because the manifest there cannot be read: %s", out, error)
        return
    for name in sorted(names - named):
        if _SHARD_NAME.fullmatch(name):
            remove_file(out.join(name))


def _replaced_shards(out: Location, overwrite: bool) -> set[str]:
    """The names of the shards that the manifest in `out` names.

    Raises:
        DataError: it is not to be overwritten, cannot be read, or is not of a packed dataset.
    """
    target = out.join(MANIFEST_NAME)
    if not exists(target):
        return set()
    if not overwrite:
        raise _exists_error(out)
    packing = read_manifest(str(target.path) if target.path else target.uri).packing
    if packing is None:
        raise DataError(f"{target}: is not of a packed dataset; valid: another folder")
    return set(packing.shards)


def _exists_error(out: Location) -> DataError:
    return DataError(f"{out.join(MANIFEST_NAME)}: exists; valid: a new folder, or --overwrite")


@contextlib.contextmanager
def _folder_of(out: Location) -> Iterator[None]:
    """Make a folder on this machine. If the block raises, the folders that were made are removed if they are empty."""
    if out.path is None:
        yield
        return
    # The innermost folder first, so that each one is empty when it is removed.
    made = [folder for folder in (out.path, *out.path.parents) if not folder.exists()]
    out.path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _write_shard(
    file: Path, plan: ShardPlan, source: ImageSource, group_images: int, advance: Callable[[int], None]
) -> None:
    schema = pa.schema([pa.field("bytes", pa.binary(), nullable=False)])
    # Encoded images do not become smaller by compression, and no two are alike, so a dictionary has no use. A reader in
    # place recognises damage by the checksums of the pages.
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
    with pq.ParquetWriter(file, schema, **options) as writer, ThreadPoolExecutor(_READING_THREADS) as pool:
        for start in range(0, len(plan.rows), group_images):
            rows = plan.rows[start : start + group_images].tolist()
            # All images of the row group are read before an error is raised, so one message names all of its faults.
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
