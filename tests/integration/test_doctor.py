"""A machine that dies during a search: the doctor names what is left and repairs it; the same command continues."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.search.cluster.doctor import examine
from tests.support.command_line import kmcl, kmcl_process, start_kmcl
from tests.support.finished_search import end_group, read_reports, read_runs
from tests.support.processes import kill_family
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.takes(70)]

NUM_EPOCHS = 40


def statuses(store: Path) -> dict[str, str]:
    return {run.info.run_name: run.info.status for run in read_runs(store)}


def kill_in_mid_trial(file: Path, store: Path, log: Path) -> None:
    search = start_kmcl("search", file, log=log, store=store)
    try:
        trial = store / "checkpoints" / "small" / "trial-0000"
        wait_until(lambda: read_reports(trial), process=search, log=log)
        while_it_runs = kmcl("doctor", store=store)
        assert while_it_runs.exit_code == 0
        assert "RUNNING" not in while_it_runs.stdout and "no process" not in while_it_runs.stdout, while_it_runs.stdout
        kill_family(search)
    finally:
        end_group(search)


def test_a_dead_search_is_found_and_repaired(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path, prepared_store: Path
) -> None:
    store = prepared_store
    file = small_search(tmp_path, small_manifest, epochs=NUM_EPOCHS, trials=1)
    kill_in_mid_trial(file, store, tmp_path / "output.txt")
    orphan = store / "checkpoints" / "small" / "trial-0007" / "epoch-0001"
    orphan.mkdir(parents=True)
    (orphan / "model.safetensors").write_bytes(b"x" * 1000)
    assert statuses(store) == {"small": "RUNNING", "trial-0000-baseline-kmcl": "RUNNING"}

    said = kmcl("doctor", store=store)
    assert said.exit_code == 0, said.output
    assert "2 runs are still running (small, trial-0000-baseline-kmcl), but no process owns the search" in said.stdout
    assert "would: close them as KILLED" in said.stdout
    assert "1 trial is open, but no process trains them (trial 0 after epoch" in said.stdout
    # The kill may have come while a checkpoint was being written.
    assert re.search(r"(1 checkpoint folder is|2 checkpoint folders are) of no trial in the study", said.stdout)
    assert f"    delete {orphan.parent}\n" in said.stdout
    assert "next: kmcl doctor --fix" in said.stdout
    assert orphan.exists() and statuses(store)["small"] == "RUNNING"

    done = kmcl("doctor", "--fix", store=store)
    assert done.exit_code == 0, done.output
    assert statuses(store) == {"small": "KILLED", "trial-0000-baseline-kmcl": "KILLED"}
    assert not orphan.parent.exists()
    assert list(store.glob("checkpoints/small/trial-0000/epoch-*"))
    with examine(open_store(store)) as findings:
        (left,) = findings
    assert left.remedy == "kmcl search FILE continues them from their checkpoints"

    again = kmcl_process("search", file, store=store)
    assert again.exit_code == 0, again.output
    assert "trial 0: goes on after epoch" in again.stdout
    assert statuses(store) == {"small": "FINISHED", "trial-0000-baseline-kmcl": "FINISHED"}
    with examine(open_store(store)) as findings:
        assert findings == []
