"""All examples of docs/plugins.md in one search: on Ray and inline, promoted, and served without their files."""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from tests.support.command_line import kmcl_process
from tests.support.example import AUGMENTATION_PLUGIN, BACKBONE_PLUGIN, HEAD_PLUGIN, PLUGIN, SEARCH

OTHERS = {"my_heads": HEAD_PLUGIN, "my_backbones": BACKBONE_PLUGIN, "my_augmentations": AUGMENTATION_PLUGIN}

pytestmark = [pytest.mark.pages, pytest.mark.takes(150)]


def test_components_are_searched_promoted_and_served(
    tmp_path: Path, small_manifest: Path, prepared_store: Path
) -> None:
    own, elsewhere = tmp_path / "own", tmp_path / "elsewhere"
    own.mkdir()
    elsewhere.mkdir()
    plugin, file = own / "my_losses.py", own / "heavy.yaml"
    plugin.write_text(PLUGIN)
    for name, code in OTHERS.items():
        (own / f"{name}.py").write_text(code)
    text = SEARCH.replace("source: digits", f"source: {small_manifest}").replace("num_epochs: 2", "num_epochs: 1")
    for before, after in {
        "[my_losses]": f"[my_losses, {', '.join(OTHERS)}]",
        "{backbone: test_resnet}": "{backbone: plain_cnn, head: residual_attention}",
        "image_size: 32": "image_size: 32, augmentation: dark",
    }.items():
        assert before in text
        text = text.replace(before, after)
    file.write_text(text.replace("trials: 2", "trials: 1"))

    def kmcl(*words: object, code: int = 0) -> str:
        done = kmcl_process(*words, store=prepared_store, folder=elsewhere)  # type: ignore[arg-type]
        assert done.exit_code == code, done.output
        return done.stdout + done.stderr

    kmcl("search", file)
    # A changed file would make other trials.
    plugin.write_text(PLUGIN.replace("weight - 1", "weight - 2"))
    file.write_text(text)
    refused = kmcl("search", file, "--inline", code=2)
    assert "search 'heavy' was begun with base.plugins.my_losses = " in refused
    assert len(refused.strip().splitlines()) == 1
    # The second trial has the new code, and the first one keeps its own.
    kmcl("search", file, "--inline", "--allow-changed-plugins")
    # The code in the record is enough from here on.
    changed = plugin.read_text()
    for name in ("my_losses", *OTHERS):
        (own / f"{name}.py").unlink()
    assert "already finished" in kmcl("resume", "heavy", "--inline")
    assert "heavy_positives" in kmcl("export-config", "heavy")
    board = read_leaderboard(open_store(prepared_store), "heavy")
    assert {row.outcome for row in board.rows} == {"completed"} and len(board.rows) == 2
    client = MlflowClient(open_store(prepared_store).tracking_uri)
    kept = client.list_artifacts(board.parent_id, "plugins")
    assert {Path(client.download_artifacts(board.parent_id, one.path)).read_text() for one in kept} == {
        PLUGIN,
        changed,
        *OTHERS.values(),
    }
    params = client.get_run(board.rows[0].run_id).data.params
    assert float(params["loss.options.heavy_positives.weight"]) > 0
    codes = [client.get_run(row.run_id).data.params["plugins.my_losses"] for row in board.rows]
    assert {sha256(code.encode()).hexdigest() for code in (PLUGIN, changed)} == set(codes)
    assert params["model.head_options.residual_attention.weight"] == "0.3"

    assert "models:/heavy@champion (version 1)" in kmcl("promote", "heavy")
    image = tmp_path / "image.png"
    from kmcl_platform.data.manifest.parquet import read_manifest

    image.write_bytes(read_manifest(small_manifest).encoded_image("test", 0))
    scores = json.loads(kmcl("predict", "models:/heavy@champion", image, "--json"))["scores"]
    assert len(scores) == 10
    # MLflow's own loader, in a process that knows neither the search nor the file.
    code = (
        "import mlflow, sys; mlflow.set_tracking_uri(sys.argv[1]); mlflow.set_registry_uri(sys.argv[1]);"
        "model = mlflow.pyfunc.load_model('models:/heavy@champion'); print('loaded', 'my_losses' in sys.modules and 'my_heads' in sys.modules)"
    )
    command = [sys.executable, "-c", code, client.tracking_uri]
    done = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere)
    assert done.stdout.strip().splitlines()[-1:] == ["loaded True"], done.stderr
