"""The archive of a real search, one of whose trials went on after a kill, and which was interrupted."""

import json
from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.tracking.archive.collect import PACKAGES, archive_searches
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.training.checkpoints.checkpoint import read_progress
from kmcl_platform.training.checkpoints.checkpoint_folder import find_checkpoint


@pytest.mark.story
def test_the_archive_has_every_epoch_as_it_was_reported(finished_copy: Path) -> None:
    store = open_store(finished_copy)
    # As a promotion writes the sealed score of its candidate.
    client = connect(store)
    run_id = read_leaderboard(store, "small").best().run_id
    client.log_metric(run_id, "test/mAP", 0.5, step=4)
    told: list[tuple[str, int, int]] = []
    left_out: dict[str, int] = {}
    table = archive_searches(store, ["small"], lambda *words: told.append(words), left_out.__setitem__)
    board = read_leaderboard(store, "small")
    assert not left_out
    assert told == [("small", done, len(board.rows)) for done in range(1, len(board.rows) + 1)]
    for one in board.rows:
        rows = [row for row in table.to_pylist() if row["trial"] == one.number]
        assert [row["epoch"] for row in rows] == list(range(1, one.epochs + 1))
        assert {row["outcome"] for row in rows} == {one.outcome}
        assert {row["num_epochs"] for row in rows} == {board.num_epochs}
        assert sum(row["seconds"] for row in rows) == pytest.approx(one.wall_seconds)
        assert rows[0]["dataset"] and len(rows[0]["dataset_hash"]) == 64
        assert (rows[0]["device"], rows[0]["workers"]) == ("cpu", 2)
        assert all(json.loads(rows[0]["packages"])[name] for name in ("python", *PACKAGES))
        checkpoint = find_checkpoint(store.trial_checkpoints("small", one.number))
        if checkpoint is not None:
            progress = read_progress(checkpoint)
            assert TrialConfig.from_record(json.loads(rows[0]["config"])) == progress.config
            for report, row in zip(progress.reports, rows, strict=True):
                assert {name: row[name] for name in report.metrics} == pytest.approx(dict(report.metrics))
    # A trial that was interrupted is not in the archive.
    client.set_tag(run_id, "kmcl.outcome", "interrupted")
    shorter = archive_searches(store, ["small"], left_out=left_out.__setitem__)
    assert left_out == {"small": 1} and shorter.num_rows < table.num_rows
    assert not any(name.startswith("test/") for name in table.column_names)
