"""Addresses that a command prints have no password: those of the store and those of a cluster."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from kmcl_platform.cli.options import store_options, store_words
from kmcl_platform.search.cluster.finding import Finding
from tests.support.command_line import kmcl

CLUSTER = "http://me:s3cr3t@head:8265"
MASKED = "http://me:***@head:8265"


def test_the_options_of_a_further_command_have_no_password() -> None:
    @click.command()
    @store_options
    def show(folder: Path, tracking_uri: str | None) -> None:
        click.echo(store_words(folder))

    words = ["--tracking-uri", "https://me:s3cr3t@host", "--study-url", "postgresql://me:s3/cr#3t@host/db"]
    answer = CliRunner().invoke(show, words)
    assert answer.output == " --tracking-uri 'https://me:***@host' --study-url 'postgresql://me:***@host/db'\n"


def test_a_submitted_search_is_named_without_the_clusters_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []

    class Cluster:
        def __init__(self, address: str) -> None:
            given.append(address)

        def link(self, job_id: str) -> str:
            return f"{given[0]}/#/jobs/{job_id}"

    def submit(path: Path, address: str, *_: Any, **__: Any) -> str:
        given.append(address)
        return "job_1"

    monkeypatch.setattr("kmcl_platform.search.cluster.jobs.Jobs", Cluster)
    monkeypatch.setattr("kmcl_platform.search.cluster.submit.submit_search", submit)
    answer = kmcl("submit", tmp_path / "s.yaml", "--address", CLUSTER, store=tmp_path)
    assert given == [CLUSTER, CLUSTER]
    assert answer.exit_code == 0
    assert "s3cr3t" not in answer.output
    assert answer.stdout.splitlines() == [
        f"job job_1 submitted to {MASKED}",
        f"  dashboard   {MASKED}/#/jobs/job_1",
        f"  logs        kmcl logs job_1 --follow --address '{MASKED}'",
        f"  stop        kmcl stop job_1 --address '{MASKED}'",
    ]


def test_the_doctor_names_a_cluster_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Finding("a problem", "a remedy", lambda: None)
    monkeypatch.setattr("kmcl_platform.search.cluster.health.examine_cluster", lambda address: [finding])
    answer = kmcl("doctor", "--address", CLUSTER)
    assert answer.stdout.splitlines()[-1] == f"next: kmcl doctor --fix --address '{MASKED}'"
