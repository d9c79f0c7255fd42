"""A job on a cluster gets the plug-ins of its search file, and may go on with changed ones."""

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


@pytest.mark.parametrize("allowed", [True, False])
def test_changed_plugins_are_allowed_in_the_job_if_the_command_allows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    Cluster.sent = []
    monkeypatch.setattr("kmcl_platform.search.cluster.submit.Jobs", Cluster)
    monkeypatch.setattr("kmcl_platform.search.cluster.jobs.Jobs", Cluster)
    (tmp_path / "search.yaml").write_text(SEARCH)
    (tmp_path / "my_losses.py").write_text(PLUGIN)
    words = ["--allow-changed-plugins"] * allowed
    answer = kmcl("submit", tmp_path / "search.yaml", "--address", "http://head:8265", *words, store=tmp_path / "store")
    assert answer.exit_code == 0, answer.output
    [(entrypoint, code)] = Cluster.sent
    assert code == PLUGIN

    seen: list[bool] = []

    def run(*_: Any, allowed: Allowed, **__: Any) -> list[Any]:
        seen.append(allowed.plugins)
        return []

    monkeypatch.setattr("kmcl_platform.search.run.run_search.run_search", run)
    monkeypatch.setattr(job, "check_environment", lambda _: None)
    assert job.run(shlex.split(entrypoint)[2:]) == 0
    assert seen == [allowed]
