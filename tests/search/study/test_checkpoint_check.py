"""A search does not start if its folder has checkpoints that are not of its trials."""

import json
from pathlib import Path

import pytest

from kmcl_platform.config.store import Store, open_store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import SearchError
from kmcl_platform.search.study.checkpoint_check import check_checkpoints, find_difference, trial_folders


def write(store: Store, number: int, document: object) -> Path:
    folder = store.trial_checkpoints("s", number) / "epoch-0002"
    folder.mkdir(parents=True)
    (folder / "trial.json").write_text(json.dumps(document))
    return folder


def test_checkpoints_of_a_study_that_was_deleted_are_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for number in range(5):
        write(store, number, {"config": TrialConfig().model_dump()})
    with pytest.raises(SearchError) as caught:
        check_checkpoints(store, "s", {})
    assert str(caught.value).startswith(
        f"{tmp_path}/checkpoints/s: got checkpoints of an earlier search (trial-0000, trial-0001, trial-0002 and 2 more)"
    )
    assert "; valid: move or delete that folder, give --study-url" in str(caught.value)
    with pytest.raises(SearchError, match=r"that the study does not know \(trial-0004\); valid: .*kmcl doctor"):
        check_checkpoints(store, "s", dict.fromkeys(range(4), TrialConfig()))
    check_checkpoints(store, "s", dict.fromkeys(range(5), TrialConfig()))
    check_checkpoints(store, "another", {})


def test_the_first_difference_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    folder = write(store, 3, {"config": TrialConfig().with_values({"optim.lr": 0.5}).model_dump()})
    with pytest.raises(
        SearchError, match=r"trial-0003/epoch-0002: got the checkpoint of another trial 3, with optim.lr = 0.5 instead"
    ):
        check_checkpoints(store, "s", {3: TrialConfig()})
    assert find_difference(folder, TrialConfig().with_values({"optim.lr": 0.5})) is None


def test_a_value_that_was_added_after_the_checkpoint_is_its_default(tmp_path: Path) -> None:
    config = TrialConfig().model_dump()
    del config["data"]["corrupt_images"]
    config["optim"]["gone"] = 3
    folder = write(open_store(tmp_path), 0, {"config": config})
    assert find_difference(folder, TrialConfig()) is None
    difference = find_difference(folder, TrialConfig().with_values({"data.corrupt_images": "skip"}))
    assert difference == "data.corrupt_images = 'error' instead of 'skip'"


@pytest.mark.parametrize("document", [[], {}, {"config": 3}, "text"])
def test_a_checkpoint_that_cannot_be_read_is_named(document: object, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    write(store, 0, document)
    with pytest.raises(SearchError, match=r"with a trial.json that cannot be read"):
        check_checkpoints(store, "s", {0: TrialConfig()})


def test_only_folders_of_trials_are_listed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    folder = write(store, 7, {}).parent
    for name in ("trial-x", "trial-08", "trial-0009.bak", "other"):
        (folder.parent / name).mkdir()
    (folder.parent / "trial-0010").symlink_to(folder)
    (folder.parent / "trial-0011").write_text("a file")
    assert list(trial_folders(store, "s")) == [(7, folder)]
