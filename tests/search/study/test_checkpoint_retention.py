"""The study alone decides which checkpoints stay on the disk."""

import json
from pathlib import Path

import pytest

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.search.study.checkpoint_retention import drop_checkpoints, measure_checkpoints
from kmcl_platform.search.study.study import DurableStudy

FILE = """
name: s
base: {num_epochs: 1}
space:
  optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}
objective: {metric: MODE}
baselines: []
budget: {trials: 9}
scheduler: {kind: none}
"""
WHOLE = ("average.safetensors", "model.safetensors", "optimizer.pt", "trial.json")
AVERAGE = ("average.safetensors", "trial.json")


def search(mode: str) -> SearchFile:
    objective = {"maximize": "val/mAP", "minimize": "train/loss, mode: minimize"}[mode]
    return parse_search_file(FILE.replace("MODE", objective).encode(), "s.yaml")


def write_checkpoint(store: Store, number: int, config: TrialConfig) -> None:
    folder = store.trial_checkpoints("s", number) / "epoch-0001"
    folder.mkdir(parents=True)
    for name in WHOLE:
        (folder / name).write_bytes(b"x" * 10)
    (folder / "trial.json").write_text(json.dumps({"config": config.model_dump()}))


def held(store: Store) -> dict[int, tuple[str, ...]]:
    folders = sorted((store.checkpoints / "s").glob("trial-*"))
    return {
        int(folder.name.removeprefix("trial-")): tuple(sorted(path.name for path in folder.glob("epoch-*/*")))
        for folder in folders
    }


@pytest.mark.parametrize(("mode", "best"), [("maximize", [1, 3]), ("minimize", [0, 2])])
def test_checkpoints_of_the_best_and_of_open_trials_stay(mode: str, best: list[int], tmp_path: Path) -> None:
    store = open_store(tmp_path)
    study = DurableStudy(store.study_url, search(mode))
    # Trials 1 and 3 are equal, and so are 0 and 2. Of equal trials, the earlier one counts as better.
    for value in (0.1, 0.9, 0.1, 0.9):
        point = study.next_point()
        assert point is not None
        write_checkpoint(store, point.number, point.config)
        study.report(point.number, 1, value)
        study.tell(point.number, "completed", value)
    for end in ("pruned", "failed", None):
        point = study.next_point()
        assert point is not None
        write_checkpoint(store, point.number, point.config)
        study.report(point.number, 1, 0.5)
        if end:
            study.tell(point.number, end)  # type: ignore[arg-type]
    assert held(store) == dict.fromkeys(range(7), WHOLE)

    drop_checkpoints(store, "s", study, keep=2)
    assert held(store) == {**dict.fromkeys(best, AVERAGE), 6: WHOLE}
    kept = measure_checkpoints(store, "s")
    documents = sum(path.stat().st_size for path in store.checkpoints.rglob("trial.json"))
    assert (kept.trials, kept.bytes) == (3, 2 * 10 + 30 + documents)

    drop_checkpoints(store, "s", study, keep=2)
    assert measure_checkpoints(store, "s") == kept
    drop_checkpoints(store, "s", study, keep=1)
    assert held(store) == {best[0]: AVERAGE, 6: WHOLE}


def test_finalists_keep_their_checkpoints(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    # The base is the only baseline, and the worst trial.
    text = FILE.replace("MODE", "val/mAP") + "finalists: {trials: 2, seeds: 2}\n"
    study = DurableStudy(store.study_url, parse_search_file(text.encode(), "s.yaml"))
    for value in (0.1, 0.7, 0.9, 0.8):
        point = study.next_point()
        assert point is not None
        write_checkpoint(store, point.number, point.config)
        study.tell(point.number, "completed", value)
    drop_checkpoints(store, "s", study, keep=1)
    assert held(store) == dict.fromkeys((0, 2, 3), AVERAGE)


def test_a_search_without_checkpoints_is_accepted(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    study = DurableStudy(store.study_url, search("maximize"))
    drop_checkpoints(store, "s", study, keep=2)
    assert measure_checkpoints(store, "s").bytes == 0


def test_with_an_empty_or_another_study_nothing_is_deleted(tmp_path: Path) -> None:
    store, file = open_store(tmp_path), search("maximize")
    study = DurableStudy(store.study_url, file)
    for value in (0.1, 0.9, 0.5):
        point = study.next_point()
        assert point is not None
        write_checkpoint(store, point.number, point.config)
        study.tell(point.number, "completed", value)
    drop_checkpoints(store, "s", DurableStudy(f"sqlite:///{tmp_path}/empty.db", file), keep=1)
    assert held(store) == dict.fromkeys(range(3), WHOLE)

    other = DurableStudy(
        f"sqlite:///{tmp_path}/other.db",
        file.model_copy(update={"sampler": file.sampler.model_copy(update={"seed": 9})}),
    )
    for _ in range(3):
        point = other.next_point()
        assert point is not None
        other.tell(point.number, "failed")
    drop_checkpoints(store, "s", other, keep=1)
    assert held(store) == {1: WHOLE, 2: WHOLE}, "trial 0 is the baseline of both: its configuration is equal"
