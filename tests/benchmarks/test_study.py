"""The study of real pictures: its data are what a condition says, and its page says what the results say."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.results import append_result, read_results
from benchmarks.study.data import open_condition, write_condition
from benchmarks.study.page import compare, count_verdicts, write_page
from benchmarks.study.settings import ARMS, CONDITIONS, SEEDS, Condition
from kmcl_platform.data.loading.own_features import rows_of_split
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest

NUM_TRAIN, NUM_OTHERS = 200, 40


@pytest.fixture
def manifest() -> Manifest:
    rng = np.random.default_rng(1)
    splits = ["train"] * NUM_TRAIN + ["val"] * NUM_OTHERS + ["test"] * NUM_OTHERS
    return build_manifest(
        name="dots",
        version="1",
        class_names=["a", "b", "c"],
        splits=splits,
        images=[b"%d" % row for row in range(len(splits))],
        targets=(rng.random((len(splits), 3)) < 0.5).astype(np.int8),
    )


def test_a_share_of_the_pictures_keeps_their_features_and_the_other_splits(tmp_path: Path, manifest: Manifest) -> None:
    features_ND = np.arange(manifest.table.num_rows, dtype=np.float32)[:, None]
    data = write_condition(manifest, Condition(pictures=0.25, batch_size=16), tmp_path, features_ND)
    left = open_condition(data)
    assert len(rows_of_split(left, "train")) == pytest.approx(NUM_TRAIN / 4, abs=3)
    assert data.batch_size == 16
    for split in ("val", "test"):
        assert (left.targets(split) == manifest.targets(split)).all()
    assert data.features is not None
    # The features of a row are its number in the whole manifest, as are its bytes.
    kept_ND = np.load(data.features)
    assert [b"%d" % row for row in kept_ND[:, 0]] == left.table["bytes"].to_pylist()


def test_half_of_the_labels_is_missing_in_train_alone(tmp_path: Path, manifest: Manifest) -> None:
    left = open_condition(write_condition(manifest, Condition(labels=0.5), tmp_path, None))
    before, after = manifest.targets("train"), left.targets("train")
    assert after.sum() == pytest.approx(before.sum() / 2, rel=0.2)
    assert (after <= before).all()
    for split in ("val", "test"):
        assert (left.targets(split) == manifest.targets(split)).all()


def results(gains: dict[str, float]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Test scores with a small noise of the seeds; `gains` are added to the scores of an arm."""
    rng = np.random.default_rng(2)
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for dataset in ("dots", "lines"):
        for condition in CONDITIONS:
            for arm in ARMS:
                lines: list[dict[str, Any]] = [{"arm": arm, "values": {"optim.lr": 0.1}, "val": 0.5, "seconds": 1.0}]
                for seed in SEEDS:
                    value = 0.5 + gains.get(arm, 0.0) + float(rng.normal(scale=0.002))
                    lines.append({"arm": arm, "seed": seed, "val": value, "mAP": value, "CF1": value, "OF1": value})
                found[dataset, condition, arm] = lines
    return found


def test_the_page_says_which_arms_are_better(tmp_path: Path) -> None:
    found = results({"kmcl": 0.05, "contrastive alone": -0.05})
    comparisons = compare(found, "mAP")
    assert count_verdicts(comparisons, "kmcl") == (8, 0, 0)
    assert count_verdicts(comparisons, "contrastive alone") == (0, 8, 0)
    page = tmp_path / "docs" / "experiments" / "page"
    page.parent.mkdir(parents=True)
    write_page(found, page, trials=1)
    text = page.read_text()
    assert re.search(r"- `kmcl`: better in 8, worse in 0, no difference shown in 0; mean difference \+0\.0(49|5)", text)
    assert "- `contrastive alone`: better in 0, worse in 8" in text
    assert (tmp_path / "docs" / "images" / "real_pictures.svg").read_text().count("<path") > len(ARMS)


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "cell.jsonl"
    assert read_results(path) == []
    path.write_text('{"val": 0.5}\n{"val": 0.')
    assert read_results(path) == [{"val": 0.5}]
    append_result(path, {"val": 0.7})
    assert read_results(path) == [{"val": 0.5}, {"val": 0.7}]
