"""Packed datasets in an object store: a real S3 server on this machine."""

import os
import socket
import time
from pathlib import Path

import pytest

from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.loading.dataset import ImageDataset, UnreadableImage
from kmcl_platform.data.loading.loader import build_loader
from kmcl_platform.data.loading.shard_shuffle import build_training_order
from kmcl_platform.data.loading.transforms import EvalTransform
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.data.pack.write_shards import pack
from kmcl_platform.data.progress import silent
from kmcl_platform.data.storage.location import parse_location
from kmcl_platform.errors import DataError
from tests.data.pack.packings import as_files
from tests.data.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.command_line import Answer, kmcl

TRANSFORM = EvalTransform(image_size=40)


@pytest.fixture
def server(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """A bucket on the shared server; its shards are stored in a new cache."""
    monkeypatch.setenv("KMCL_CACHE", str(tmp_path / "cache"))
    return s3


@pytest.fixture(scope="module")
def digits() -> Manifest:
    return build_digits(num_train=60, num_val=20, num_test=5)


def run(*words: str | Path) -> Answer:
    return kmcl("data", *words)


def pack_to(server: S3Server, digits: Manifest, prefix: str = "set") -> str:
    """Pack into the bucket. The manifest's URI."""
    out = parse_location(server.uri(prefix))
    pack(digits, out, shard_bytes=40_000, group_images=8, progress=silent)
    return server.uri(f"{prefix}/manifest.parquet")


def cached(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").glob("*.parquet"))


def test_the_commands_work_with_a_store(server: S3Server, digits: Manifest, tmp_path: Path) -> None:
    write_manifest(digits, tmp_path / "m.parquet")
    answer = run(
        "pack", tmp_path / "m.parquet", server.uri("deep/set"), "--shard-size", "40kB", "--row-group-images", 8
    )
    assert answer.exit_code == 0, answer.output
    uri = f"s3://{server.bucket}/deep/set/manifest.parquet?{server.query}"
    names = server.names("deep/set")
    assert names[0] == "manifest.parquet" and len(names) > 4
    assert f"packed: {len(names) - 1} shards, 0.1 MB" in answer.stdout
    assert answer.stdout.endswith(f"written: {uri}\nnext: kmcl data check '{uri}'\n")
    answer = run("check", uri)
    assert answer.exit_code == 0, answer.output
    assert f"fit for a search: data.source: {uri}" in answer.stdout
    # The shards were written only to the bucket, and then read from the cache.
    assert len(cached(tmp_path)) == len(names) - 1
    answer = run("pack", tmp_path / "m.parquet", server.uri("deep/set"))
    assert answer.stderr == f"kmcl: {uri}: exists; valid: a new folder, or --overwrite\n"
    answer = run("pack", tmp_path / "m.parquet", server.uri("deep/set"), "--overwrite", "--seed", "1")
    assert answer.exit_code == 0, answer.output
    assert len(server.names("deep/set")) == 4
    assert SECRET_KEY not in answer.output


@pytest.mark.parametrize("processes", [0, 2])
def test_an_epoch_fetches_each_shard_once(processes: int, server: S3Server, digits: Manifest, tmp_path: Path) -> None:
    manifest = open_manifest(pack_to(server, digits), tmp_path)
    seen = []
    for rank in range(2):
        dataset = ImageDataset(manifest, "train", TRANSFORM)
        sampler = build_training_order(dataset, rank=rank, world_size=2, seed=0)
        loader = build_loader(dataset, sampler, batch_size=5, drop_last=True, processes=processes, pin_memory=False)
        seen += [image.numpy().tobytes() for images, _ in loader for image in images]
    plain = ImageDataset(digits, "train", TRANSFORM)
    assert sorted(seen) == sorted(plain[row][0].numpy().tobytes() for row in range(60))
    assert manifest.packing is not None
    train = [shard for name, shard in manifest.packing.shards.items() if name.startswith("train")]
    assert [path.stem for path in cached(tmp_path)] == sorted(shard.sha256 for shard in train)
    # A second run does not need the store.
    for name in server.names("set"):
        server.delete(f"set/{name}")
    assert ImageDataset(manifest, "train", TRANSFORM).__getitems__([0, 59])[0].shape == (2, 3, 40, 40)


def test_the_environment_names_the_endpoint(
    server: S3Server, digits: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
    out = f"s3://{server.bucket}/plain"
    write_manifest(digits, tmp_path / "m.parquet")
    answer = run("pack", tmp_path / "m.parquet", out)
    assert answer.exit_code == 0, answer.output
    assert f"next: kmcl data check {out}/manifest.parquet\n" in answer.stdout
    manifest = open_manifest(f"{out}/manifest.parquet", tmp_path)
    assert len(manifest.encoded_image("test", 4)) > 100


def test_a_manifest_of_bytes_is_read_too(server: S3Server, digits: Manifest, tmp_path: Path) -> None:
    write_manifest(digits, tmp_path / "m.parquet")
    server.write("plain.parquet", (tmp_path / "m.parquet").read_bytes())
    assert read_manifest(server.uri("plain.parquet")).content_hash == digits.content_hash


def test_relative_image_paths_are_refused(server: S3Server, tmp_path: Path) -> None:
    write_manifest(as_files(build_digits(num_train=1, num_val=1, num_test=1), tmp_path), tmp_path / "m.parquet")
    server.write("m.parquet", (tmp_path / "m.parquet").read_bytes())
    with pytest.raises(
        DataError, match=r"image paths are relative to it \(first: '0.png'\); valid: a manifest packed there"
    ):
        read_manifest(server.uri("m.parquet"))


@pytest.mark.parametrize("kind", ["missing", "truncated", "altered"])
def test_a_damaged_shard_is_refused_by_name(kind: str, server: S3Server, digits: Manifest, tmp_path: Path) -> None:
    manifest = open_manifest(pack_to(server, digits), tmp_path)
    name = next(name for name in server.names("set") if name.startswith("test"))
    data = server.read(f"set/{name}")
    if kind == "missing":
        server.delete(f"set/{name}")
    else:
        server.write(f"set/{name}", data[:-9] if kind == "truncated" else data[:99] + b"?" + data[100:])
    with pytest.raises(UnreadableImage) as caught:
        _ = ImageDataset(manifest, "test", TRANSFORM)[0]
    start = {"missing": "no such file", "truncated": "size: got ", "altered": "sha256: got "}[kind]
    assert f"image {name}#0: cannot be read (s3://{server.bucket}/set/{name}?{server.query}: {start}" in str(
        caught.value
    )
    assert cached(tmp_path) == []
    answer = run("check", server.uri("set/manifest.parquet"))
    assert answer.exit_code == 2
    assert "shard: 1" in answer.stdout


def test_a_failed_packing_leaves_nothing(server: S3Server, digits: Manifest, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if done > 70:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(digits, parse_location(server.uri("set")), shard_bytes=40_000, group_images=8, progress=interrupt)
    assert server.names("set") == []


def test_a_packing_that_was_finished_meanwhile_stays(server: S3Server, digits: Manifest) -> None:
    """Without --overwrite, packing looks for a manifest again before it writes its own."""
    out = parse_location(server.uri("set"))

    def finish_another(what: str, done: int, total: int) -> None:
        if done == total:
            pack(digits, out, seed=1, progress=silent)

    with pytest.raises(
        DataError, match=r"^s3://.*/set/manifest.parquet\?.*: exists; valid: a new folder, or --overwrite$"
    ):
        pack(digits, out, progress=finish_another)
    packing = read_manifest(server.uri("set/manifest.parquet")).packing
    assert packing is not None
    assert server.names("set") == sorted([*packing.shards, "manifest.parquet"])


@pytest.mark.parametrize("path", ["none/manifest.parquet", "../none/manifest.parquet"])
def test_a_missing_manifest_is_named(path: str, server: S3Server) -> None:
    answer = run("check", server.uri(path))
    assert answer.exit_code == 2
    assert answer.stderr.endswith(": no such file; valid: the path of a manifest (*.parquet)\n")
    assert len(answer.stderr.splitlines()) == 1


def test_a_missing_bucket_is_named(server: S3Server, digits: Manifest, tmp_path: Path) -> None:
    write_manifest(digits, tmp_path / "m.parquet")
    answer = run("pack", tmp_path / "m.parquet", f"s3://nobody/set?{server.query}")
    assert answer.exit_code == 2
    assert answer.stderr.startswith("kmcl: s3://nobody/set/train-00000-of-00001-")
    assert "cannot be written: " in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


@pytest.mark.parametrize("accepts", [False, True])
def test_an_endpoint_that_does_not_answer_is_an_error_within_seconds(
    accepts: bool, server: S3Server, digits: Manifest, tmp_path: Path
) -> None:
    write_manifest(digits, tmp_path / "m.parquet")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        if not accepts:
            listening.close()
        query = f"endpoint_override=127.0.0.1:{port}&scheme=http"
        commands = [("check", f"s3://b/m.parquet?{query}"), ("pack", tmp_path / "m.parquet", f"s3://b/set?{query}")]
        for words in commands[accepts:]:
            started = time.monotonic()
            answer = run(*words)
            assert time.monotonic() - started < 30
            assert answer.exit_code == 2
            assert len(answer.stderr.splitlines()) == 1
            assert answer.stderr.startswith("kmcl: s3://b/")
            assert "cannot be read: " in answer.stderr
            assert SECRET_KEY not in answer.output and ACCESS_KEY not in answer.output


def test_refused_credentials_are_not_shown(
    server: S3Server, digits: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(digits, tmp_path / "m.parquet")
    for uri in (
        f"s3://{ACCESS_KEY}:{SECRET_KEY}@{server.bucket}/set",
        f"gs://someone:{SECRET_KEY}@{server.bucket}/set",
    ):
        for words in (("pack", tmp_path / "m.parquet", uri), ("check", f"{uri}/manifest.parquet")):
            answer = run(*words)
            assert answer.exit_code == 2
            assert "got credentials within a URI; valid: credentials in the environment" in answer.stderr
            assert SECRET_KEY not in answer.output and ACCESS_KEY not in answer.output
    with pytest.raises(DataError) as caught:
        open_manifest(f"s3://{ACCESS_KEY}:{SECRET_KEY}@{server.bucket}/set/manifest.parquet", tmp_path)
    assert SECRET_KEY not in str(caught.value)


@pytest.mark.parametrize("uri", ["nonsense://bucket/m.parquet", "s3://bucket/m.parquet?token=hush", "s3://[/m.parquet"])
def test_wrong_uris_are_refused(uri: str) -> None:
    answer = run("check", uri)
    assert answer.exit_code == 2
    assert len(answer.stderr.splitlines()) == 1
    assert "hush" not in answer.stderr


def test_nothing_is_left_in_the_temporary_folder(
    server: S3Server, digits: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    pack_to(server, digits)
    assert os.listdir(tmp_path / "tmp") == []
