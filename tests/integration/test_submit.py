"""A search sent to a Ray head on loopback that asks for a token."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

OTHER_LOCK = """six==1.16.0 \\
    --hash=sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254
"""
"""Another version of a small package than the project's lock file has."""


SHOW_ALL = """
import sys
from ray.job_submission import JobSubmissionClient

client = JobSubmissionClient(sys.argv[1])
for job in client.list_jobs():
    print(job, client.get_job_logs(job.submission_id) if job.submission_id else "")
"""


@dataclass
class Head:
    address: str
    gcs: str
    environment: dict[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("head")
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    gcs, dashboard = free_port(), free_port()
    command = [
        str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=2",
        "--node-ip-address=127.0.0.1", f"--port={gcs}", "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}", "--dashboard-agent-listen-port=0", f"--temp-dir={short_folder()}",
    ]  # fmt: skip
    with (folder / "head.txt").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for_port(dashboard, process)
        yield Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", environment)
    finally:
        # The session that was made for it: every process of this Ray head, and no other.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def short_folder() -> str:
    """Ray's sockets need a path of at most about 100 characters, which pytest's folders exceed."""
    import tempfile

    return tempfile.mkdtemp(prefix="kmcl")


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the Ray head ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError("the Ray head did not answer")


def submit(
    file: Path, store: Path, address: str, environment: dict[str, str], *words: str, checkout: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "kmcl_platform.cli",
        "submit",
        str(file),
        "--address",
        address,
        "--store",
        str(store),
    ]
    return subprocess.run(
        [*command, *words], env=environment, cwd=checkout, capture_output=True, text=True, timeout=500, check=False
    )


def test_a_submitted_search_stands_in_mlflow(
    head: Head, small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    file = small_search(tmp_path, small_manifest, epochs=2, trials=2)
    done = submit(file, store, head.address, head.environment, "--follow")
    assert done.returncode == 0, done.stdout + done.stderr
    assert head.address in done.stdout
    # The head's environment is the locked one: nothing is installed for the job.
    assert "environment:" not in done.stdout

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], filter_string="tags.`kmcl.role` = 'trial'")
    assert [run.info.status for run in runs] == ["FINISHED"] * 2


def kmcl(head: Head, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kmcl_platform.cli", *words, "--address", head.address]
    return subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=300, check=False)


def test_a_job_is_listed_read_and_stopped_and_its_search_goes_on(
    head: Head, small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    store = tmp_path / "store"
    file = small_search(tmp_path, small_manifest, epochs=100, trials=1)
    done = submit(file, store, head.address, head.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    job_id = done.stdout.split()[1]
    deadline = time.monotonic() + 180
    while not list(store.glob("checkpoints/small/trial-0000/epoch-*")):
        assert time.monotonic() < deadline, kmcl(head, "logs", job_id).stdout
        time.sleep(1)

    listed = kmcl(head, "jobs")
    row = next(line for line in listed.stdout.splitlines() if job_id in line)
    assert "small" in row and "RUNNING" in row
    assert "search small: 1 trials of at most 100 epochs" in kmcl(head, "logs", job_id).stdout
    stopped = kmcl(head, "stop", job_id)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert f"job {job_id}: STOPPED; nothing is lost" in stopped.stdout

    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.status for run in runs) == ["KILLED", "KILLED"]
    reached = max(int(path.name.removeprefix("epoch-")) for path in store.glob("checkpoints/small/*/epoch-*"))
    assert 1 <= reached < 100

    unknown = kmcl(head, "stop", "raysubmit_none")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("kmcl: job: got 'raysubmit_none'; valid: raysubmit_")


def test_a_secret_reaches_the_driver_and_nobody_else(
    head: Head, small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    import optuna

    hidden = tmp_path / secrets.token_hex(16)
    url = f"sqlite:///{hidden}"
    file = small_search(tmp_path, small_manifest, epochs=1, trials=1)
    environment = head.environment | {"KMCL_STUDY_URL": url}
    done = submit(file, tmp_path / "store", head.address, environment, "--secret", "KMCL_STUDY_URL", "--follow")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(optuna.load_study(study_name="small", storage=url).trials) == 1

    shown = subprocess.run(
        [sys.executable, "-c", SHOW_ALL, head.address], env=head.environment, capture_output=True, text=True, check=True
    ).stdout
    assert "jobs/run_search.py" in shown
    assert hidden.name not in shown + done.stdout + done.stderr

    unset = submit(file, tmp_path / "store", head.address, head.environment, "--secret", "KMCL_NO_SUCH_NAME")
    assert unset.returncode == 2
    assert unset.stderr.startswith("kmcl: --secret: got 'KMCL_NO_SUCH_NAME', which is not set; valid: ")


def copy_checkout(folder: Path, lock: str) -> Path:
    shutil.copytree("kmcl_platform", folder / "kmcl_platform", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree("jobs", folder / "jobs")
    shutil.copy("pyproject.toml", folder)
    (folder / "requirements.lock").write_text(lock)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("locked", [True, False], ids=["locked", "other"])
def test_a_job_that_is_submitted_by_hand(
    locked: bool, head: Head, small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
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


@pytest.mark.long
def test_the_locked_environment_is_installed_where_it_is_not(
    head: Head, small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path / "checkout", OTHER_LOCK)
    file = small_search(tmp_path, small_manifest, epochs=1, trials=1)
    done = submit(file, tmp_path / "store", head.address, head.environment, "--follow", checkout=checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "environment: the cluster's is not the locked one (1 packages differ, first six 1.17" in done.stdout
    # The job compares again: it would have refused an environment in which the lock was not installed.
    assert "search small: 1 trials" in done.stdout


def test_a_cluster_is_looked_over(head: Head, tmp_path: Path) -> None:
    script = tmp_path / "leave.py"
    script.write_text(
        "import ray\nfrom ray.util.placement_group import placement_group\nray.init('auto')\n"
        "ray.get(placement_group([{'CPU': 1}], name='forgotten', lifetime='detached').ready())\n"
    )
    assert kmcl(head, "doctor").stdout == "all is well\n"
    environment = head.environment | {"RAY_ADDRESS": head.gcs}
    subprocess.run([sys.executable, str(script)], env=environment, check=True, timeout=120)
    found = kmcl(head, "doctor")
    assert found.returncode == 0, found.stderr
    assert "1 placement group of ended jobs still hold resources (forgotten of job " in found.stdout
    assert "done: remove them" in kmcl(head, "doctor", "--fix").stdout
    assert kmcl(head, "doctor").stdout == "all is well\n"


def test_without_the_token_it_is_refused(
    head: Head, small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    file = small_search(tmp_path, small_manifest)
    wrong = tmp_path / "wrong"
    wrong.write_text(secrets.token_hex(32))
    for environment in (
        head.environment | {"RAY_AUTH_MODE": "disabled"},
        head.environment | {"RAY_AUTH_TOKEN_PATH": str(wrong)},
    ):
        done = submit(file, tmp_path / "store", head.address, environment)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "no valid token; valid: the cluster's token in RAY_AUTH_TOKEN" in done.stderr
        assert "ray get-auth-token --generate" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_wrong_file_is_not_sent(head: Head, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("name: x")
    done = submit(file, tmp_path / "store", head.address, head.environment)
    assert done.returncode == 2
    assert "wrong.yaml: " in done.stderr


def test_the_cluster_file_is_valid_for_the_installed_ray() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(Path("cluster.yaml").read_text())
    validate_config(prepare_config(config))
    with pytest.raises(Exception, match="max_workerz"):
        validate_config(prepare_config(config | {"max_workerz": 1}))
