"""A search on images that no disk holds: packed into an object store, read by workers through the node's cache."""

import json
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from tests.conftest import write_small_search
from tests.data.s3_server import serve_s3

pytestmark = pytest.mark.long


def kmcl(*words: str | Path) -> str:
    """What a command prints on stdout; it ends well."""
    command = [sys.executable, "-m", "kmcl_platform.cli", *[str(word) for word in words]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_from_packing_to_the_champion(tmp_path: Path, small_manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("KMCL_CACHE", str(cache))
    with serve_s3(monkeypatch) as server:
        kmcl("data", "pack", small_manifest, server.uri("set"), "--shard-size", "100kB", "--row-group-images", 8)
        source = server.uri("set/manifest.parquet")
        search = write_small_search(tmp_path, Path("unused"), epochs=2, trials=2)
        search.write_text(search.read_text().replace("unused", f"'{source}'"))
        store = tmp_path / "store"
        kmcl("search", search, "--store", store)
        # The test split is sealed: none of its shards was asked for yet.
        names = server.names("set")
        num_test = sum(name.startswith("test") for name in names)
        assert num_test > 0
        assert len(list(cache.glob("*.parquet"))) == len(names) - 1 - num_test
        board = json.loads(kmcl("leaderboard", "small", "--store", store, "--json"))
        assert board["rows"][0]["epochs"] == 2
        kmcl("promote", "small", "--store", store)
        assert len(list(cache.glob("*.parquet"))) == len(names) - 1
    client = mlflow.MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "small"]
    runs = client.search_runs([experiment.experiment_id])
    sources = {input.dataset.source for run in runs for input in run.inputs.dataset_inputs}
    assert len(runs) == 3
    assert sources and all("s3://bucket/set/manifest.parquet" in source for source in sources)
