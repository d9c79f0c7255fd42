"""The node's cache: it fetches a shard once, stays within its bound, and never has a part of a shard."""

import hashlib
import os
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from kmcl_platform.data.storage import shard_cache
from kmcl_platform.data.storage.byte_sizes import parse_size
from kmcl_platform.data.storage.location import Location
from kmcl_platform.data.storage.shard_cache import ShardCache, node_cache
from kmcl_platform.data.storage.shard_index import Shard
from kmcl_platform.errors import DataError
from tests.support.waiting import wait_for_next_timestamp
from tests.support.worker_processes import fast_context

PROCESSES = fast_context(__name__)


def make_shard(folder: Path, name: str, num_bytes: int = 1000) -> tuple[Shard, Location]:
    """A file, and what a manifest says about it. The cache also fetches files that are on this machine."""
    data = hashlib.sha256(name.encode()).digest() * (num_bytes // 32 + 1)
    (folder / name).write_bytes(data[:num_bytes])
    sha256 = hashlib.sha256(data[:num_bytes]).hexdigest()
    return Shard(name, 1, 1, num_bytes, sha256), Location(folder / name)


def kept(cache: ShardCache) -> int:
    return sum(path.stat().st_size for path in cache.folder.iterdir() if path.suffix != ".lock")


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the shards that are fetched, in order."""
    seen: list[str] = []
    read = shard_cache.read_chunks

    def note(location: Location, valid: str) -> Iterator[bytes]:
        seen.append(location.name)
        return read(location, valid)

    monkeypatch.setattr(shard_cache, "read_chunks", note)
    return seen


def test_a_shard_is_fetched_once(tmp_path: Path, fetches: list[str]) -> None:
    cache = ShardCache(tmp_path / "cache" / "deep", 5000)
    shard, source = make_shard(tmp_path, "a")
    first = cache.fetch(shard, source)
    assert first.read_bytes() == (tmp_path / "a").read_bytes()
    assert cache.fetch(shard, source) == first
    assert fetches == ["a"]


def test_the_least_recently_used_shard_makes_room(tmp_path: Path, fetches: list[str]) -> None:
    cache = ShardCache(tmp_path / "cache", 3000)
    shards = {name: make_shard(tmp_path, name) for name in "abcd"}
    for name in "abcabad":
        cache.fetch(*shards[name])
        wait_for_next_timestamp(tmp_path / "clock")
        assert kept(cache) <= 3000
    assert fetches == ["a", "b", "c", "d"]
    for name in "abd":
        cache.fetch(*shards[name])
    assert fetches == ["a", "b", "c", "d"]
    cache.fetch(*shards["c"])
    assert fetches == ["a", "b", "c", "d", "c"]
    assert kept(cache) <= 3000


def test_other_files_are_never_removed(tmp_path: Path) -> None:
    """`KMCL_CACHE` may name a folder of datasets. Making room used to delete every *.parquet and *.tmp file in it."""
    names = ["my_table.parquet", "notes.tmp", "0" * 64 + ".tmp", "train-00000-of-00001-0a1b2c3d.parquet"]
    for name in names:
        (tmp_path / name).write_bytes(b"x" * 3000)
    cache = ShardCache(tmp_path, 1000)
    for source in "ab":
        cache.fetch(*make_shard(tmp_path, source))
    assert all((tmp_path / name).read_bytes() == b"x" * 3000 for name in names)
    assert len([path for path in tmp_path.iterdir() if len(path.name) == 72 and path.suffix == ".parquet"]) == 1


def test_a_shard_that_can_never_fit_is_refused(tmp_path: Path) -> None:
    shard, source = make_shard(tmp_path, "a", 1001)
    with pytest.raises(DataError) as caught:
        ShardCache(tmp_path / "cache", 1000).fetch(shard, source)
    assert str(caught.value) == (
        f"{tmp_path}/a: got a shard of 1,001 bytes for a cache of 1,000; valid: a higher KMCL_CACHE_BYTES, or smaller "
        "shards (kmcl data pack --shard-size)"
    )


@pytest.mark.parametrize("kind", ["missing", "truncated", "longer", "altered"])
def test_a_damaged_source_is_refused_and_not_kept(kind: str, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache", 5000)
    shard, source = make_shard(tmp_path, "a")
    whole = (tmp_path / "a").read_bytes()
    damaged = {"truncated": whole[:-1], "longer": whole + b"x", "altered": b"x" + whole[1:], "missing": b""}[kind]
    (tmp_path / "a").write_bytes(damaged)
    if kind == "missing":
        (tmp_path / "a").unlink()
    with pytest.raises(DataError) as caught:
        cache.fetch(shard, source)
    start = {"missing": "no such file", "altered": "sha256: got "}.get(
        kind, f"size: got {len(damaged):,} bytes; valid: 1,000"
    )
    assert str(caught.value).startswith(f"{tmp_path}/a: {start}")
    assert {path.suffix for path in cache.folder.iterdir()} <= {".lock"}
    (tmp_path / "a").write_bytes(whole)
    assert cache.fetch(shard, source).read_bytes() == whole


def test_a_copy_that_was_cut_off_is_fetched_again(tmp_path: Path, fetches: list[str]) -> None:
    cache = ShardCache(tmp_path / "cache", 5000)
    shard, source = make_shard(tmp_path, "a")
    copy = cache.fetch(shard, source)
    copy.write_bytes(copy.read_bytes()[:10])
    assert cache.fetch(shard, source).read_bytes() == (tmp_path / "a").read_bytes()
    assert fetches == ["a", "a"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shard, source = make_shard(tmp_path, "a")
    with pytest.raises(
        DataError, match=f"^{tmp_path}/file/cache: cannot be written: .*valid: KMCL_CACHE, a folder with"
    ):
        ShardCache(tmp_path / "file" / "cache", 5000).fetch(shard, source)


def _fetch_all(cache: ShardCache, shards: list[tuple[Shard, Location]], log: Path, rounds: int, start: Barrier) -> None:
    """Fetch the shards one after another, in a process of its own, and log what is read from the slow source."""
    read = shard_cache.read_chunks

    def slowly(location: Location, valid: str) -> Iterator[bytes]:
        with log.open("a") as file:
            file.write(location.name + "\n")
        time.sleep(0.1)
        yield from read(location, valid)

    shard_cache.read_chunks = slowly  # type: ignore[assignment]
    start.wait(60)
    for _ in range(rounds):
        for shard, source in shards:
            data = b""
            while not data:
                try:
                    data = cache.fetch(shard, source).read_bytes()
                except FileNotFoundError:
                    continue
            assert hashlib.sha256(data).hexdigest() == shard.sha256


def run_together(jobs: list[tuple[object, ...]]) -> None:
    start = PROCESSES.Barrier(len(jobs))
    processes = [PROCESSES.Process(target=_fetch_all, args=(*job, start)) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)


@pytest.mark.story
def test_processes_fetch_a_shard_once(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache", 10_000)
    shards = [make_shard(tmp_path, name) for name in "abc"]
    run_together([(cache, shards, tmp_path / "log", 1)] * 3)
    assert sorted((tmp_path / "log").read_text().split()) == ["a", "b", "c"]


@pytest.mark.story
def test_processes_stay_within_a_bound_of_one_shard(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache", 1000)
    shards = [make_shard(tmp_path, name) for name in "ab"]
    run_together([(cache, order, tmp_path / "log", 3) for order in (shards, shards[::-1])])
    assert kept(cache) <= 1000


def _die_in_the_middle(cache: ShardCache, shard: Shard, source: Location) -> None:
    def half(location: Location, valid: str) -> Iterator[bytes]:
        yield (source.path or Path()).read_bytes()[:500]
        os._exit(9)

    shard_cache.read_chunks = half  # type: ignore[assignment]
    cache.fetch(shard, source)


@pytest.mark.story
@pytest.mark.parametrize("same", [True, False])
def test_the_file_of_a_killed_process_makes_room(same: bool, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache", 1000)
    dying, other = make_shard(tmp_path, "a"), make_shard(tmp_path, "b")
    process = PROCESSES.Process(target=_die_in_the_middle, args=(cache, *dying))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert [path for path in cache.folder.iterdir() if path.suffix == ".tmp"]
    assert not [path for path in cache.folder.iterdir() if path.suffix == ".parquet"]
    # The unfinished file takes the whole room, so it has to be removed.
    shard, source = dying if same else other
    assert cache.fetch(shard, source).read_bytes() == (source.path or Path()).read_bytes()
    assert not [path for path in cache.folder.iterdir() if path.suffix == ".tmp"]


def test_the_environment_names_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KMCL_CACHE", "KMCL_CACHE_BYTES", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert node_cache() == ShardCache(tmp_path / ".cache" / "kmcl_platform" / "shards", 32 * 2**30)
    monkeypatch.setenv("KMCL_CACHE", "~/mine")
    monkeypatch.setenv("KMCL_CACHE_BYTES", "5GB")
    assert node_cache() == ShardCache(tmp_path / "mine", 5 * 10**9)
    monkeypatch.setenv("KMCL_CACHE_BYTES", "much")
    with pytest.raises(
        DataError, match="^KMCL_CACHE_BYTES: got 'much'; valid: bytes above 0, such as 500000, 64MB or 20GiB$"
    ):
        node_cache()


def test_sizes_are_read_or_refused() -> None:
    assert [parse_size(text) for text in ("7", "1k", "2 MB", "3mib", "1GiB", "1T")] == [
        7,
        1000,
        2 * 10**6,
        3 * 2**20,
        2**30,
        10**12,
    ]
    for text in ("", "0", "-1", "1.5G", "GB", "1 i", "1ib", "ten"):
        with pytest.raises(ValueError, match="valid: bytes above 0"):
            parse_size(text)
