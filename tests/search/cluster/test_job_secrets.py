"""Secrets: given by name, not shown with the job, read once."""

import os
from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.errors import ConfigError
from kmcl_platform.search.cluster.job_secrets import FILE, read_secrets, refuse_password, take_secrets, write_secrets
from kmcl_platform.search.cluster.submit import job_environment


def test_a_secret_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMCL_TEST_SECRET", "p=ä'\n")
    values = read_secrets(["KMCL_TEST_SECRET"])
    write_secrets(tmp_path, values)
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    monkeypatch.delenv("KMCL_TEST_SECRET")
    take_secrets(tmp_path)
    assert os.environ["KMCL_TEST_SECRET"] == "p=ä'\n"
    assert not (tmp_path / FILE).exists()
    take_secrets(tmp_path)


@pytest.mark.parametrize("value", [None, ""])
def test_a_secret_that_is_not_set_is_refused(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KMCL_TEST_SECRET", raising=False)
    if value is not None:
        monkeypatch.setenv("KMCL_TEST_SECRET", value)
    with pytest.raises(ConfigError, match="^--secret: got 'KMCL_TEST_SECRET', which is not set; valid: the name"):
        read_secrets(["KMCL_TEST_SECRET"])


def test_an_address_with_a_password_is_refused() -> None:
    for uri in (None, "http://127.0.0.1:5000", "postgresql+psycopg://kmcl@127.0.0.1/kmcl", "sqlite:////x.db"):
        refuse_password("--tracking-uri", uri)
    with pytest.raises(ConfigError, match="^--tracking-uri: got an address with a password") as refusal:
        refuse_password("--tracking-uri", "https://me:hunter2@mlflow.example")
    assert "hunter2" not in str(refusal.value)


def test_an_address_that_is_a_secret_is_not_shown_with_the_job(tmp_path: Path) -> None:
    store, study = open_store(tmp_path), "postgresql+psycopg://kmcl:hunter2@127.0.0.1/kmcl"
    seen = job_environment(store, "http://127.0.0.1:5000", study, ["KMCL_STUDY_URL"])
    assert seen["KMCL_TRACKING_URI"] == "http://127.0.0.1:5000"
    assert "KMCL_STUDY_URL" not in seen
    assert "hunter2" not in str(seen)
    with pytest.raises(ConfigError, match="^--study-url: got an address with a password"):
        job_environment(store, None, study, ["KMCL_TRACKING_URI"])
    plain = "sqlite:////studies.db"
    assert job_environment(store, None, plain, [])["KMCL_STUDY_URL"] == plain
