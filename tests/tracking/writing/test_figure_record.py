"""Figures of trials: each is in MLflow once, also if the driver or the process that draws was killed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.parquet import write_manifest
from kmcl_platform.data.scores_file import VALIDATION_SCORES, SplitScores, scores_to_bytes
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.figures import figure_process
from kmcl_platform.tracking.figures.score_queue import ScoreQueue
from kmcl_platform.tracking.runs.artifacts import read_artifact
from kmcl_platform.tracking.runs.names import TrialOutcome
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.tracking.writing.outbox import Outbox
from kmcl_platform.tracking.writing.recorder import Recorder


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "few.parquet"
    write_manifest(build_digits(num_train=8, num_val=40, num_test=8), path)
    return path


def write_checkpoint(folder: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    folder.mkdir()
    scores = SplitScores(rng.random((40, 10), dtype=np.float32), rng.integers(0, 2, (40, 10)))
    (folder / VALIDATION_SCORES).write_bytes(scores_to_bytes(scores))
    return folder


PICTURES = {"precision_recall.png", "average_precision.png", "cooccurrence.png", "mistakes.png"}


@pytest.mark.story
def test_figures_wait_for_the_baseline_and_the_next_start_draws_what_is_left(
    store: Store, search_file: SearchFile, search_yaml: bytes, manifest: Path, tmp_path: Path
) -> None:
    base = search_file.base.with_values({"data.source": str(manifest)})
    file = search_file.model_copy(update={"base": base})
    runs = SearchRuns.open(store, file, search_yaml, "tiny.yaml")
    recorder = Recorder(store, file, runs, print)
    for number in range(3):
        recorder.begin_trial(number, base, baseline=number == 2)
    recorder.queue_scores(0, write_checkpoint(tmp_path / "0", 0), TrialOutcome.COMPLETED, baseline=False)
    recorder.queue_scores(1, write_checkpoint(tmp_path / "1", 1), TrialOutcome.PRUNED, baseline=False)
    recorder.queue_scores(3, None, TrialOutcome.FAILED, baseline=False)
    recorder.flush()
    recorder.close()
    assert [queued.number for queued in ScoreQueue(store, file.name).waiting()] == [0, 1]

    lines: list[str] = []
    recorder = Recorder(store, file, runs, lines.append)
    recorder.queue_scores(2, write_checkpoint(tmp_path / "2", 2), TrialOutcome.COMPLETED, baseline=True)
    recorder.finish_drawings()
    recorder.flush()
    recorder.close()
    assert lines == []
    # Only the scores that later figures are compared with are left.
    left = {path.name for path in (store.root / "figures" / file.name).iterdir()}
    assert left == {"baseline.safetensors", "figures.log"}
    client = connect(store)
    found = {}
    for number in range(3):
        run_id = runs.trials._known(number).run_id
        found[number] = {Path(one.path).name for one in client.list_artifacts(run_id, "figures")}
        table = json.loads(read_artifact(client, run_id, "figures/classes.json"))
        row = dict(zip(table["columns"], table["data"][3], strict=True))
        assert row["class"] == "3"
        assert (row["AP gained"] == 0) == (number == 2)
        assert row["AP of the baseline"] is not None
        assert "figures/classes.json" in client.get_run(run_id).data.tags["mlflow.loggedArtifacts"]
    assert found == {0: PICTURES | {"classes.json"}, 1: {"classes.json"}, 2: PICTURES | {"classes.json"}}


OpenRecorder = Callable[[], Recorder]


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def open_recorder(
    store: Store, search_file: SearchFile, search_yaml: bytes, manifest: Path, lines: list[str]
) -> OpenRecorder:
    """Opens the record of a search without a baseline, as each start of it does; trial 0 has begun."""
    base = search_file.base.with_values({"data.source": str(manifest)})
    file = search_file.model_copy(update={"base": base, "baseline": False})

    def start() -> Recorder:
        recorder = Recorder(store, file, SearchRuns.open(store, file, search_yaml, "tiny.yaml"), lines.append)
        recorder.begin_trial(0, base, baseline=False)
        return recorder

    return start


def test_a_process_that_always_ends_is_reported_and_not_started_without_limit(
    store: Store, open_recorder: OpenRecorder, lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    recorder = open_recorder()
    for number in range(4):
        recorder.queue_scores(number, write_checkpoint(tmp_path / str(number), 0), TrialOutcome.PRUNED, baseline=False)
    recorder.finish_drawings()
    recorder.close()
    log = store.root / "figures" / "tiny" / figure_process.LOG
    why = f"the process that draws ended with exit code 1; its log is {log}"
    assert lines == [
        f"no figures of trial 0: {why}",
        f"no figures of trial 1: {why}",
        "no more figures are drawn: 4 processes ended in this way; the next start tries again",
    ]
    assert [queued.number for queued in ScoreQueue(store, "tiny").waiting()] == [0, 1, 2, 3]


def test_a_drawing_that_fails_is_reported_and_stays_in_the_queue(
    store: Store, search_file: SearchFile, search_yaml: bytes, tmp_path: Path, lines: list[str]
) -> None:
    base = search_file.base.with_values({"data.source": str(tmp_path / "gone.parquet")})
    file = search_file.model_copy(update={"base": base, "baseline": False})
    recorder = Recorder(store, file, SearchRuns.open(store, file, search_yaml, "tiny.yaml"), lines.append)
    recorder.queue_scores(0, write_checkpoint(tmp_path / "0", 0), TrialOutcome.PRUNED, baseline=False)
    recorder.finish_drawings()
    recorder.close()
    (line,) = lines
    assert line.startswith("no figures of trial 0: DataError: ")
    assert len(ScoreQueue(store, file.name).waiting()) == 1


def test_figures_in_the_outbox_are_not_drawn_again(
    store: Store, open_recorder: OpenRecorder, lines: list[str], tmp_path: Path
) -> None:
    """A driver may die between the outbox's entry and the deletion of the scores."""
    open_recorder().close()
    scores = ScoreQueue(store, "tiny")
    queued = scores.add(0, write_checkpoint(tmp_path / "0", 0), pictures=True, baseline=False)
    assert queued is not None
    scores.figures(0).mkdir()
    (scores.figures(0) / "classes.json").write_text("drawn")
    outbox = Outbox(store, "tiny")
    outbox.add("figures", {"number": 0})
    outbox.close()
    recorder = open_recorder()
    assert scores.waiting() == []
    recorder.finish_drawings()
    recorder.flush()
    recorder.close()
    run_id = recorder.runs.trials._known(0).run_id
    assert read_artifact(connect(store), run_id, "figures/classes.json") == b"drawn"
    assert not scores.figures(0).exists()


def test_scores_of_an_older_version_are_drawn_and_logged(
    store: Store, open_recorder: OpenRecorder, tmp_path: Path
) -> None:
    open_recorder().close()
    older = store.root / "evidence" / "tiny"
    (older / "trial-0000").mkdir(parents=True)
    (older / "trial-0000" / "classes.json").write_text("drawn")
    outbox = Outbox(store, "tiny")
    outbox.add("evidence", {"number": 0, "folder": str(older / "trial-0000")})
    outbox.close()
    recorder = open_recorder()
    recorder.flush()
    recorder.close()
    run_id = recorder.runs.trials._known(0).run_id
    assert read_artifact(connect(store), run_id, "figures/classes.json") == b"drawn"
    assert not older.exists()
