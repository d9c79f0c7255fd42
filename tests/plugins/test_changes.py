"""A search whose plug-in was changed: refused, or each trial keeps its code; plug-ins of installed packages."""

import os
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.errors import ConfigError, SearchError
from kmcl_platform.plugins import find_component, find_plugin, source as module
from kmcl_platform.plugins.loss import Loss
from kmcl_platform.search.study.definition import PLUGIN_CHANGES, Allowed
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.runs.names import PLUGIN_CHANGES_TAG, PLUGINS_TAG
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.tracking.runs.searches import know_recorded_plugins, read_latest_search_file
from tests.support.example import PLUGIN, SEARCH

CHANGED = PLUGIN.replace("weight - 1", "weight - 2")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The search file of docs/plugins.md, beside its plug-in."""
    (tmp_path / "my_losses.py").write_text(PLUGIN)
    (tmp_path / "heavy.yaml").write_text(SEARCH.replace("trials: 2", "trials: 4"))
    return tmp_path / "heavy.yaml"


def change(file: Path, code: str = CHANGED) -> SearchFile:
    (file.parent / "my_losses.py").write_text(code)
    return read_search_file(file)


def loaded_code() -> str:
    """The digest of the code whose loss a process would use now."""
    return module._loaded["my_losses"]


def test_each_trial_keeps_the_code_with_which_it_began(file: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    first = read_search_file(file)
    study = DurableStudy(url, first)
    ended, interrupted = study.next_point(), study.next_point()
    assert ended is not None and interrupted is not None
    study.report(ended.number, 1, 0.5)
    study.tell(ended.number, "completed", 0.5)
    second = change(file)
    with pytest.raises(
        SearchError,
        match=r"search 'heavy' was begun with base\.plugins\.my_losses = \S+, the file now says \S+; valid: the same "
        r"definition \(the budget may grow\), or another name in the file; or --allow-changed-plugins, for trials with",
    ):
        DurableStudy(url, second)
    study = DurableStudy(url, second, allowed=Allowed(plugins=True))
    # Later starts need no option, and a third code is another change.
    study = DurableStudy(url, second)
    assert study.next_point() == interrupted
    assert study.point(ended.number).config.plugins == first.base.plugins != second.base.plugins
    new = study.next_point()
    assert new is not None and new.config.plugins == second.base.plugins
    with pytest.raises(SearchError, match="was begun with base.plugins.my_losses"):
        DurableStudy(url, change(file, CHANGED + "# Another.\n"))
    third = DurableStudy(url, read_search_file(file), allowed=Allowed(plugins=True))
    assert [third.point(number).config.plugins for number in range(3)] == [first.base.plugins] * 2 + [
        second.base.plugins
    ]
    changes = third._study.user_attrs[PLUGIN_CHANGES]
    assert [one["trials"] for one in changes] == [[0, 1], [2]]
    assert [one["plugins"] for one in changes] == [first.base.plugins, second.base.plugins]


def test_looking_at_an_older_trial_leaves_the_loaded_code_as_it_is(file: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    study = DurableStudy(url, read_search_file(file))
    assert study.next_point() is not None
    second = change(file)
    study = DurableStudy(url, second, allowed=Allowed(plugins=True))
    study.point(0)
    assert loaded_code() == second.base.plugins["my_losses"]
    # The other way round: a trial of the former code trains in this process, and the search draws a new one.
    old = study.point(0).config
    type(old).model_validate(old.model_dump())
    assert study.next_point() is not None and study.next_point() is not None
    assert loaded_code() == old.plugins["my_losses"]


def test_only_code_may_change(file: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    DurableStudy(url, read_search_file(file))
    with pytest.raises(
        SearchError, match=r"begun with base\.loss\.options\.heavy_positives\.weight = 2\.0, the file now"
    ):
        DurableStudy(url, change(file, PLUGIN.replace("default=2.0", "default=3.0")), allowed=Allowed(plugins=True))
    assert PLUGIN_CHANGES not in DurableStudy(url, change(file, PLUGIN))._study.user_attrs


def test_a_kill_during_the_change_is_repeated_by_the_next_start(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmcl_platform.search.sampling.search_study import SearchStudy

    url = f"sqlite:///{tmp_path}/optuna.db"
    study = DurableStudy(url, read_search_file(file))
    assert study.next_point() is not None
    second = change(file)

    def killed(self: Any, name: str, value: Any, write: Any = SearchStudy.set_user_attr) -> None:
        write(self, name, value)
        if name == PLUGIN_CHANGES:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SearchStudy, "set_user_attr", killed)
        DurableStudy(url, second, allowed=Allowed(plugins=True))
    study = DurableStudy(url, second, allowed=Allowed(plugins=True))
    assert [one["trials"] for one in study._study.user_attrs[PLUGIN_CHANGES]] == [[0]]


def test_the_record_has_both_codes_and_the_change(file: Path, store: Store) -> None:
    first = read_search_file(file)
    runs = SearchRuns.open(store, first, file.read_bytes(), "heavy.yaml")
    runs.trials.begin(0, first.base, baseline=False)
    runs.trials.log_epochs(0, [(EpochReport(epoch=1, metrics={"val/mAP": 0.5}, seconds=1), None)])
    second = change(file)
    runs = SearchRuns.open(store, second, file.read_bytes(), "heavy.yaml")
    runs.trials.begin(0, first.base, baseline=False)  # An interrupted trial goes on in its run.
    runs.trials.begin(1, second.base, baseline=False)
    client = MlflowClient(store.tracking_uri)
    parent = client.get_run(runs.parent_id)
    digests = [one.base.plugins["my_losses"] for one in (first, second)]
    assert parent.data.tags[PLUGINS_TAG] == f'{{"my_losses": "{digests[1]}"}}'
    line = parent.data.tags[PLUGIN_CHANGES_TAG]
    assert line.startswith(f"my_losses: {digests[0][:12]} until 20") and line.endswith(f"UTC, then {digests[1][:12]}")
    kept = client.list_artifacts(runs.parent_id, "plugins")
    assert {Path(client.download_artifacts(runs.parent_id, one.path)).read_text() for one in kept} == {PLUGIN, CHANGED}
    # A process that has seen neither code reads the trials of both.
    (file.parent / "my_losses.py").unlink()
    module._known.clear()
    module._loaded.clear()
    latest = read_latest_search_file(store, "heavy")
    assert latest.base.plugins == second.base.plugins
    type(first.base).model_validate(first.base.model_dump())
    # So does one that has the new file, and continues the search.
    module._known.clear()
    module._loaded.clear()
    change(file)
    know_recorded_plugins(store, "heavy")
    type(first.base).model_validate(first.base.model_dump())


def test_a_store_without_a_record_has_no_former_code(tmp_path: Path, store: Store) -> None:
    know_recorded_plugins(open_store(tmp_path / "new"), "heavy")
    know_recorded_plugins(store, "heavy")
    assert not (tmp_path / "new").exists()


def test_an_installed_package_offers_a_plugin_by_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, folder = tmp_path / "site", tmp_path / "own"
    folder.mkdir()
    (site / "shared_losses").mkdir(parents=True)
    # Its package must not be imported: the search file does not name it.
    (site / "shared_losses" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (site / "shared_losses" / "heavy.py").write_text(PLUGIN)
    (site / "shared_losses-1.0.dist-info").mkdir()
    (site / "shared_losses-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: shared-losses\nVersion: 1.0\n"
    )
    (site / "shared_losses-1.0.dist-info" / "entry_points.txt").write_text(
        "[kmcl_platform.plugins]\nheavy_losses = shared_losses.heavy\nbroken = shared_losses.nothing\n"
    )
    monkeypatch.syspath_prepend(os.fspath(site))
    (folder / "heavy.yaml").write_text(SEARCH.replace("[my_losses]", "[heavy_losses]"))
    search = read_search_file(folder / "heavy.yaml")
    assert list(search.base.plugins) == ["heavy_losses"]
    assert find_component(Loss, "heavy_positives").__module__ == "heavy_losses"
    # A file beside the search file comes first.
    (folder / "heavy_losses.py").write_text(CHANGED)
    assert find_plugin("heavy_losses", folder).code == CHANGED
    with pytest.raises(ConfigError, match=r"^plugins: got 'broken'; valid: a file .*, or an installed module of one"):
        find_plugin("broken", folder)


@pytest.fixture
def store(tmp_path: Path, prepared_store: Path) -> Store:
    """A store whose databases exist."""
    return open_store(prepared_store)
