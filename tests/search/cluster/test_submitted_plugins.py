"""A job on a cluster gets the plug-ins of its search file, and may go on with what the command allows to differ."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from jobs import run_search as job
from kmcl_platform.search.study.definition import Allowed
from tests.support.command_line import kmcl

PLUGIN = "VALUE = 1\n"
SEARCH = """
name: heavy
plugins: [my_losses]
space:
  optim.lr: {kind: loguniform, low: 1e-4, high: 1e-2}
budget: {trials: 1}
"""


class Cluster:
    """A cluster that notes what it gets."""

    sent: list[tuple[str, str]]

    def __init__(self, address: str) -> None:
        self.address = address

    def run(self, **_: Any) -> tuple[bool, str]:
        return True, ""

    def submit(self, entrypoint: str, runtime_env: dict[str, Any], **_: Any) -> str:
        self.sent.append((entrypoint, (Path(runtime_env["working_dir"]) / "my_losses.py").read_text()))
        return "job_1"

    def link(self, job_id: str) -> str:
        return f"{self.address}/{job_id}"


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        ((), Allowed()),
        (("--allow-changed-plugins",), Allowed(plugins=True)),
        (("--extend",), Allowed(space=True)),
        (("--extend", "--allow-changed-plugins"), Allowed(plugins=True, space=True)),
    ],
)
def test_what_the_command_allows_is_allowed_in_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], allowed: Allowed
) -> None:
    Cluster.sent = []
    monkeypatch.setattr("kmcl_platform.search.cluster.submit.Jobs", Cluster)
    monkeypatch.setattr("kmcl_platform.search.cluster.jobs.Jobs", Cluster)
    (tmp_path / "search.yaml").write_text(SEARCH)
    (tmp_path / "my_losses.py").write_text(PLUGIN)
    answer = kmcl("submit", tmp_path / "search.yaml", "--address", "http://head:8265", *words, store=tmp_path / "store")
    assert answer.exit_code == 0, answer.output
    [(entrypoint, code)] = Cluster.sent
    assert code == PLUGIN

    seen: list[Allowed] = []

    def run(*_: Any, allowed: Allowed, **__: Any) -> list[Any]:
        seen.append(allowed)
        return []

    monkeypatch.setattr("kmcl_platform.search.run.run_search.run_search", run)
    monkeypatch.setattr(job, "check_environment", lambda _: None)
    assert job.run(shlex.split(entrypoint)[2:]) == 0
    assert seen == [allowed]
