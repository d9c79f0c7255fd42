"""A user's own features are read before a search starts, wherever its file names them."""

from pathlib import Path

import numpy as np
import pytest

from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.errors import DataError
from kmcl_platform.search.run.checks.files_check import check_features, digest_features

GOOD = {"good.npy": np.ones((3, 2), np.float32), "large.npy": np.full((3, 2), 1e5, np.float32)}
SEARCH = """
name: own
base: {{data: {{features: good.npy}}, model: {{backbone_mode: frozen{model}}}}}
space: {{{space}}}
budget: {{trials: 9}}
{more}
"""
RATE = "optim.lr: {kind: uniform, low: 1e-4, high: 1e-3}"


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.chdir(tmp_path)
    for name, features_ND in GOOD.items():
        np.save(name, features_ND)
    np.save("short.npy", np.ones((2, 2), np.float32))
    return build_manifest(
        name="m",
        version="1",
        class_names=["a"],
        splits=["train", "val", "test"],
        images=["1", "2", "3"],
        targets=np.ones((3, 1), np.int8),
    )


@pytest.mark.parametrize(
    ("space", "more"),
    [
        ("data.features: {kind: choice, choices: [good.npy, short.npy]}", ""),
        (RATE, "arms: {good: {data.features: good.npy}, short: {data.features: short.npy}}"),
        (RATE, "baselines: [{name: short, values: {data.features: short.npy}}]"),
    ],
)
def test_every_file_that_a_trial_may_use_is_checked(space: str, more: str, manifest: Manifest) -> None:
    def parse(name: str) -> bytes:
        return SEARCH.format(space=space, more=more, model="").replace("short.npy", name).encode()

    with pytest.raises(DataError, match="short.npy: got 2 rows; valid: 3, one for each row of the manifest 'm'"):
        check_features(parse_search_file(parse("short.npy"), "own.yaml"), manifest)
    right = parse_search_file(parse("large.npy"), "own.yaml")
    check_features(right, manifest)
    digests = digest_features(right)
    assert list(digests) == ["good.npy", "large.npy"]
    assert len(set(digests.values())) == 2


def test_values_that_the_type_of_the_features_cannot_hold_are_refused(manifest: Manifest) -> None:
    space = "model.feature_dtype: {kind: choice, choices: [float32, float16]}"
    content = SEARCH.format(space=space, more="", model="").replace("good.npy", "large.npy")
    with pytest.raises(DataError, match="large.npy: row 0, feature 0: got 100000; valid: numbers within the range of"):
        check_features(parse_search_file(content.encode(), "own.yaml"), manifest)


def test_a_search_without_own_features_reads_nothing(manifest: Manifest) -> None:
    content = "name: own\nspace: {optim.lr: {kind: uniform, low: 1e-4, high: 1e-3}}\nbudget: {trials: 9}\n"
    file = parse_search_file(content.encode(), "own.yaml")
    check_features(file, manifest)
    assert digest_features(file) == {}
