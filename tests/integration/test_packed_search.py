"""A search on images in an object store: they are packed into shards, and workers read them through the node's cache."""

import json
from pathlib import Path

import pytest

from tests.conftest import write_small_search
from tests.data.s3_server import serve_s3, use_s3
from tests.support.command_line import Word, kmcl, kmcl_process
from tests.support.finished_search import read_runs

pytestmark = [pytest.mark.long, pytest.mark.takes(60)]


def run(*words: Word, store: Path | None = None) -> str:
    """The output of a command that succeeds, in this process."""
    answer = kmcl(*words, store=store)
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_from_packing_to_the_champion(
    tmp_path: Path, small_manifest: Path, prepared_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("KMCL_CACHE", str(cache))
    with serve_s3() as port:
        server = use_s3(port, monkeypatch)
        run("data", "pack", small_manifest, server.uri("set"), "--shard-size", "100kB", "--row-group-images", 8)
        source = server.uri("set/manifest.parquet")
        search = write_small_search(tmp_path, Path("unused"), epochs=2, trials=2)
        search.write_text(search.read_text().replace("unused", f"'{source}'"))
        store = prepared_store
        searched = kmcl_process("search", search, store=store)
        assert searched.exit_code == 0, searched.output
        # The test split is sealed: none of its shards has been read yet.
        names = server.names("set")
        num_test = sum(name.startswith("test") for name in names)
        assert num_test > 0
        assert len(list(cache.glob("*.parquet"))) == len(names) - 1 - num_test
        board = json.loads(run("leaderboard", "small", "--json", store=store))
        assert board["rows"][0]["epochs"] == 2
        run("promote", "small", store=store)
        assert len(list(cache.glob("*.parquet"))) == len(names) - 1
    runs = read_runs(store)
    sources = {input.dataset.source for run in runs for input in run.inputs.dataset_inputs}
    assert len(runs) == 3
    assert sources and all(f"s3://{server.bucket}/set/manifest.parquet" in source for source in sources)
