"""The study of a store: the first search records its address, and a later one with another address is refused."""

import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from rich.console import Console
from safetensors.torch import save_file

from kmcl_platform.config.store import open_store
from kmcl_platform.config.store_record import claim_study
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.errors import ConfigError, DataError, SearchError
from kmcl_platform.search.run import run_search as module, single_search
from kmcl_platform.search.run.run_search import SearchSummary, run_search

FILE = """
name: s
base: {{data: {{source: {source}}}}}
space: {{optim.lr: {{kind: loguniform, low: 1e-4, high: 1e-1}}}}
baselines: []
budget: {{trials: 2}}
"""


@pytest.fixture
def file(small_manifest: Path, tmp_path: Path) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(FILE.format(source=small_manifest))
    return path


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The searches that have passed every check; each ends there, before Ray starts."""
    found: list[object] = []

    def begin(*words: object) -> SearchSummary:
        found.append(words)
        return SearchSummary("s", interrupted=True, already_finished=False, reason="", seconds={})

    monkeypatch.setattr(single_search, "_run", begin)
    return found


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO())


def test_a_search_with_another_study_than_the_stores_is_refused_before_it_begins(
    file: Path, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "run_or_find", lambda *_: pytest.fail("the search began"))
    claim_study(open_store(tmp_path / "store"))
    other = open_store(tmp_path / "store", study_url=f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(
        SearchError, match=r"study: got sqlite:///.*other\.db, but the searches of .* are in optuna\.db"
    ):
        run_search(file, other, console)
    assert not (tmp_path / "other.db").exists()


def test_the_first_search_of_a_store_records_its_study_before_it_begins(
    file: Path, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path / "store", study_url=f"sqlite:///{tmp_path}/other.db")
    recorded: list[str] = []

    def stop(*_: object) -> SearchSummary:
        recorded.append(json.loads((store.root / "store.json").read_text())["study"])
        return SearchSummary("s", interrupted=True, already_finished=False, reason="", seconds={})

    monkeypatch.setattr(module, "run_or_find", stop)
    run_search(file, store, console)
    assert recorded == [f"sqlite:///{tmp_path}/other.db"]


def test_a_new_search_whose_budget_does_not_hold_the_default_baselines_is_refused_and_leaves_no_store(
    file: Path, console: Console, tmp_path: Path
) -> None:
    file.write_text(file.read_text().replace("baselines: []\n", "").replace("trials: 2", "trials: 3"))
    with pytest.raises(
        ConfigError,
        match=rf"^{re.escape(str(file))}: budget\.trials: got 3; valid: at least 4, for 3 baselines \(kmcl, asymmetric, bce\) and one more trial; ",
    ):
        run_search(file, open_store(tmp_path / "store"), console)
    assert not (tmp_path / "store" / "optuna.db").exists()
    assert not (tmp_path / "store" / "store.json").exists()


def test_a_search_does_not_continue_with_other_data(
    small_manifest: Path, console: Console, tmp_path: Path, begun: list[object]
) -> None:
    manifest, file, store = tmp_path / "m.parquet", tmp_path / "s.yaml", open_store(tmp_path / "store")
    shutil.copy(small_manifest, manifest)
    file.write_text(FILE.format(source=manifest))
    for _ in range(2):
        run_search(file, store, console)
    # As an import with --overwrite does.
    write_manifest(build_digits(num_train=10, num_val=8, num_test=8), manifest)
    with pytest.raises(
        SearchError, match=r"data.source: got '.*/m.parquet' with content hash .*…; valid: .*…, the content"
    ):
        run_search(file, store, console)
    assert len(begun) == 2
    shutil.copy(small_manifest, manifest)
    run_search(file, store, console)
    assert len(begun) == 3


def test_a_search_does_not_continue_with_other_pretrained_weights(
    file: Path, console: Console, tmp_path: Path, begun: list[object]
) -> None:
    def save(seed: int) -> None:
        torch.manual_seed(seed)
        save_file(timm.create_model("test_resnet").state_dict(), weights)

    weights, store = tmp_path / "w.safetensors", open_store(tmp_path / "store")
    network = f"model: {{backbone: test_resnet, pretrained_file: {weights}}}"
    file.write_text(file.read_text().replace("base: {data", f"base: {{{network}, data"))
    save(seed=0)
    for _ in range(2):
        run_search(file, store, console)
    save(seed=1)
    with pytest.raises(
        SearchError,
        match=r"model.pretrained_file: got '.*/w.safetensors' with content hash .*…; valid: .*…, the content",
    ):
        run_search(file, store, console)
    assert len(begun) == 2
    save(seed=0)
    run_search(file, store, console)
    assert len(begun) == 3


def test_a_search_does_not_continue_with_other_features(
    file: Path, small_manifest: Path, console: Console, tmp_path: Path, begun: list[object]
) -> None:
    features_ND = np.ones((read_manifest(small_manifest).table.num_rows, 3), np.float32)
    own, store = tmp_path / "own.npy", open_store(tmp_path / "store")
    text = file.read_text().replace("}}\nspace", f", features: {own}}}, model: {{backbone_mode: frozen}}}}\nspace")
    file.write_text(text)
    np.save(own, features_ND[1:])
    with pytest.raises(
        DataError, match=r"^data.features: .*/own.npy: got [0-9]+ rows; valid: [0-9]+, one for each row"
    ):
        run_search(file, store, console)
    assert not (tmp_path / "store").exists()
    np.save(own, features_ND)
    for _ in range(2):
        run_search(file, store, console)
    np.save(own, -features_ND)
    with pytest.raises(
        SearchError, match=r"^data.features: got '.*/own.npy' with content hash .*…; valid: .*…, the content"
    ):
        run_search(file, store, console)
    assert len(begun) == 2
    np.save(own, features_ND)
    run_search(file, store, console)
    assert len(begun) == 3


def test_the_name_of_a_search_file_need_not_be_utf8(
    file: Path, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.yaml"))
    file.rename(odd)
    origins: list[str] = []

    def begin(*words: str) -> SearchSummary:
        origins.append(words[2])
        return SearchSummary("s", interrupted=True, already_finished=False, reason="", seconds={})

    monkeypatch.setattr(single_search, "_run", begin)
    run_search(odd, open_store(tmp_path / "store"), console)
    # A database refuses text that is not UTF-8.
    assert origins == [f"{tmp_path}/caf\\xe9.yaml"]
    odd.write_text("name: [")
    with pytest.raises(ConfigError, match=r"caf\\xe9.yaml:1: "):
        run_search(odd, open_store(tmp_path / "store"), console)
