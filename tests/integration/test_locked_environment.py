"""The locked environment on a cluster: a job compares its environment with the lock, and installs it where it differs."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import submit
from tests.support.ray_cluster import RayHead

pytestmark = [pytest.mark.long, pytest.mark.takes(180)]

OTHER_LOCK = """six==1.16.0 \\
    --hash=sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254
"""
"""A lock file with another version of a small package than the project's."""


def copy_checkout(folder: Path, lock: str) -> Path:
    shutil.copytree("kmcl_platform", folder / "kmcl_platform", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree("jobs", folder / "jobs")
    shutil.copy("pyproject.toml", folder)
    (folder / "requirements.lock").write_text(lock)
    return folder


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "other"])
def test_a_job_that_is_submitted_by_hand(
    locked: bool, head: RayHead, small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    lock = Path("requirements.lock").read_text() if locked else OTHER_LOCK
    checkout = copy_checkout(tmp_path / "checkout", lock)
    small_search(checkout, small_manifest, epochs=1, trials=1)
    store = tmp_path / "store"
    command = [
        str(Path(sys.executable).parent / "ray"), "job", "submit", "--address", head.address,
        "--working-dir", str(checkout),
        "--runtime-env-json", json.dumps({"env_vars": {"KMCL_STORE": str(store)}}),
        "--", "python", "jobs/run_search.py", "small.yaml",
    ]  # fmt: skip
    done = subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=500, check=False)
    if locked:
        assert done.returncode == 0, done.stdout + done.stderr
        assert "trial   0 finished after 1 of 1 epochs" in done.stdout
    else:
        assert done.returncode != 0
        assert "kmcl: environment: got six 1.17" in done.stdout
        assert not store.exists()


def test_the_locked_environment_is_installed_where_it_is_not(
    head: RayHead, small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path / "checkout", OTHER_LOCK)
    file = small_search(tmp_path, small_manifest, epochs=1, trials=1)
    done = submit(head, file, tmp_path / "store", "--follow", checkout=checkout)
    assert done.exit_code == 0, done.output
    assert "environment: the cluster's is not the locked one (different in 1 package, first six 1.17" in done.stdout
    # The job compares again: it would have refused an environment in which the lock was not installed.
    assert "search small: 1 trial of at most " in done.stdout
