"""A search with a frozen backbone, from its plan to a champion that takes pictures."""

import json
from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from tests.conftest import write_small_search
from tests.support.command_line import kmcl, kmcl_process
from tests.support.finished_search import read_runs
from tests.training.features.frozen import write_weights

pytestmark = [pytest.mark.long, pytest.mark.takes(90)]


def test_from_the_plan_to_the_champion(tmp_path: Path, small_manifest: Path, prepared_store: Path) -> None:
    search = write_small_search(tmp_path, small_manifest, epochs=4, trials=6)
    weights = write_weights(tmp_path / "weights.safetensors")
    frozen = (
        f"model: {{backbone: test_byobnet, backbone_mode: frozen, pretrained_file: {weights}, projection_width: 16}}"
    )
    text = search.read_text()
    search.write_text(text.replace("model: {backbone: test_byobnet}", frozen))
    assert search.read_text() != text
    store = open_store(prepared_store)
    planned = kmcl_process("plan", search, "--json", store=store.root)
    assert planned.exit_code == 0, planned.output
    computed = {path: path.stat().st_mtime_ns for path in (store.features / "splits").glob("*/features.npy")}
    assert len(computed) == 2

    searched = kmcl_process("search", search, store=store.root)
    assert searched.exit_code == 0, searched.output
    # Six trials with two workers each, and early stopping, used the features of the plan.
    assert {p: p.stat().st_mtime_ns for p in (store.features / "splits").glob("*/features.npy")} == computed
    board = json.loads(kmcl("leaderboard", "small", "--json", store=store.root).stdout)
    assert board["rows"][0]["epochs"] == 4
    runs = read_runs(store.root)
    assert len(runs) == 7
    trials = [run for run in runs if "val/mAP" in run.data.metrics]
    assert len(trials) == 6
    assert {run.data.params["model.backbone_mode"] for run in trials} == {"frozen"}

    promoted = kmcl("promote", "small", store=store.root)
    assert promoted.exit_code == 0, promoted.output
    out = tmp_path / "scores.parquet"
    predicted = kmcl("predict", "models:/small@champion", "--manifest", small_manifest, "--out", out, store=store.root)
    assert predicted.exit_code == 0, predicted.output
    assert "predicted: 64 images" in predicted.output
