"""The places of a store: every folder name works in the addresses of SQLite."""

from pathlib import Path

import optuna
import pytest

from kmcl_platform.config.store import open_store, sqlite_file, sqlite_url
from kmcl_platform.errors import ConfigError

NAMES = ["a?b", "a#b", "a%20b", "a b", "{a}", "é", "100%", "a&b=c", "a+b", "a:b@c"]


@pytest.mark.parametrize("name", NAMES)
def test_the_study_is_in_the_store_for_every_folder_name(name: str, tmp_path: Path) -> None:
    store = open_store(tmp_path / name)
    store.root.mkdir()
    optuna.create_study(storage=store.study_url, study_name="s")
    assert sqlite_file(store.study_url) == tmp_path / name / "optuna.db"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert [path.name for path in store.root.iterdir()] == ["optuna.db"]
    assert store.has_own_study and store.is_local


def test_addresses_of_other_databases_have_no_file() -> None:
    for url in ("postgresql://host/x", "sqlite://", "sqlite:///:memory:", "http://host"):
        assert sqlite_file(url) is None
    assert sqlite_file("sqlite:///file:/a%3Fb/x.db?uri=true") == Path("/a?b/x.db")
    assert sqlite_url(Path("/plain/x.db")) == "sqlite:////plain/x.db"


def test_a_folder_that_is_not_utf8_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"store: got .*d\\xe9; valid: a folder whose whole path is UTF-8"):
        open_store(tmp_path / "d\udce9")
