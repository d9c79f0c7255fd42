"""Searches that are sent to a Ray head on loopback, which asks for a token."""

import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest

from tests.integration.conftest import submit
from tests.support.command_line import Answer, kmcl, kmcl_process
from tests.support.finished_search import read_runs
from tests.support.ray_cluster import RayHead
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.takes(140)]

NUM_EPOCHS = 30

SHOW_ALL = """
import sys
from ray.job_submission import JobSubmissionClient

client = JobSubmissionClient(sys.argv[1])
for job in client.list_jobs():
    print(job, client.get_job_logs(job.submission_id) if job.submission_id else "")
"""


def on_cluster(head: RayHead, *words: str) -> Answer:
    """A command about the head's cluster."""
    return kmcl_process(*words, "--address", head.address, environment=head.environment)


@dataclass(frozen=True)
class Submitted:
    """A search that was sent twice: its first job was stopped, its second one completed it.

    Attributes:
        store: the store of both jobs.
        study: the file of the study, whose name only the secret `KMCL_STUDY_URL` holds.
        first: the answer of the submission of the first job.
        listed: what the list of jobs showed of it while it ran.
        logs: its output at that time.
        stopped: the answer of the command that stopped it.
        statuses_after_stop: of all MLflow runs.
        reached: the trial's last epoch with a checkpoint when the job had been stopped.
        second: the answer of the second submission, which followed its job to the end.
    """

    store: Path
    study: Path
    first: Answer
    listed: str
    logs: str
    stopped: Answer
    statuses_after_stop: list[str]
    reached: int
    second: Answer

    @property
    def job(self) -> str:
        return self.first.stdout.split()[1]


@pytest.fixture(scope="module")
def submitted(
    head: RayHead,
    small_search: Callable[..., Path],
    small_manifest: Path,
    initialised_database: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Submitted:
    folder = tmp_path_factory.mktemp("submitted")
    store, study = folder / "store", folder / secrets.token_hex(16)
    store.mkdir()
    (store / "mlflow.db").write_bytes(initialised_database.read_bytes())
    file = small_search(folder, small_manifest, epochs=NUM_EPOCHS, trials=1, workers=1)
    secret = {"KMCL_STUDY_URL": f"sqlite:///{study}"}
    first = submit(head, file, store, "--secret", "KMCL_STUDY_URL", environment=secret)
    assert first.exit_code == 0, first.output
    job = first.stdout.split()[1]

    def running() -> str:
        rows = [line for line in on_cluster(head, "jobs").stdout.splitlines() if job in line]
        return next((row for row in rows if "RUNNING" in row), "")

    def logs() -> str:
        text = on_cluster(head, "logs", job).stdout
        return text if "1 trial of at most" in text else ""

    # The study's file first: each look at the cluster is a process that imports Ray, which takes seconds of CPU time.
    wait_until(study.exists)
    listed, seen = wait_until(running), wait_until(logs)
    wait_until(lambda: list(store.glob("checkpoints/small/trial-0000/epoch-*")))
    stopped = on_cluster(head, "stop", job)
    statuses = [run.info.status for run in read_runs(store)]
    reached = max(int(path.name.removeprefix("epoch-")) for path in store.glob("checkpoints/small/*/epoch-*"))
    second = submit(head, file, store, "--secret", "KMCL_STUDY_URL", "--follow", environment=secret)
    return Submitted(store, study, first, listed, seen, stopped, statuses, reached, second)


def test_a_job_is_listed_and_its_output_is_shown(submitted: Submitted) -> None:
    assert "small" in submitted.listed
    assert f"search small: 1 trial of at most {NUM_EPOCHS} epochs" in submitted.logs


def test_a_stopped_job_ends_in_order(head: RayHead, submitted: Submitted) -> None:
    assert submitted.stopped.exit_code == 0, submitted.stopped.output
    assert f"job {submitted.job}: STOPPED; nothing is lost" in submitted.stopped.stdout
    assert submitted.statuses_after_stop == ["KILLED", "KILLED"]
    assert 1 <= submitted.reached < NUM_EPOCHS
    unknown = on_cluster(head, "stop", "raysubmit_none")
    assert unknown.exit_code == 2
    assert unknown.stderr.startswith("kmcl: job: got 'raysubmit_none'; valid: raysubmit_")


def test_the_same_search_is_completed_by_another_job(head: RayHead, submitted: Submitted) -> None:
    assert submitted.second.exit_code == 0, submitted.second.output
    assert head.address in submitted.second.stdout
    # The head's environment is the locked one: nothing is installed for the job.
    assert "environment:" not in submitted.first.stdout + submitted.second.stdout
    assert "trial 0: goes on after epoch" in submitted.second.stdout
    assert [run.info.status for run in read_runs(submitted.store, role="trial")] == ["FINISHED"]


def test_a_secret_reaches_the_driver_and_is_shown_nowhere(head: RayHead, submitted: Submitted) -> None:
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{submitted.study}")
    assert len(study.trials) == 1
    assert not (submitted.store / "optuna.db").exists()
    shown = subprocess.run(
        [sys.executable, "-c", SHOW_ALL, head.address], env=head.environment, capture_output=True, text=True, check=True
    ).stdout
    assert "jobs/run_search.py" in shown
    for output in (shown, submitted.first.output, submitted.second.output):
        assert submitted.study.name not in output


def test_a_secret_that_is_not_set_is_refused(
    head: RayHead, small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    file = small_search(tmp_path, small_manifest)
    unset = kmcl("submit", file, "--address", head.address, "--secret", "KMCL_NO_SUCH_NAME", store=tmp_path / "store")
    assert unset.exit_code == 2
    assert unset.stderr.startswith("kmcl: --secret: got 'KMCL_NO_SUCH_NAME', which is not set; valid: ")


def test_the_doctor_examines_a_cluster(head: RayHead, tmp_path: Path) -> None:
    script = tmp_path / "leave.py"
    script.write_text(
        "import ray\nfrom ray.util.placement_group import placement_group\nray.init('auto')\n"
        "ray.get(placement_group([{'CPU': 1}], name='forgotten', lifetime='detached').ready())\n"
    )
    assert on_cluster(head, "doctor").stdout == "all is well\n"
    environment = head.environment | {"RAY_ADDRESS": head.gcs}
    subprocess.run([sys.executable, str(script)], env=environment, check=True, timeout=120)
    found = on_cluster(head, "doctor")
    assert found.exit_code == 0, found.output
    assert "1 placement group of ended jobs still hold resources (forgotten of job " in found.stdout
    assert "done: remove them" in on_cluster(head, "doctor", "--fix").stdout
    assert on_cluster(head, "doctor").stdout == "all is well\n"


def test_without_the_token_it_is_refused(
    head: RayHead, small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    file = small_search(tmp_path, small_manifest)
    wrong = tmp_path / "wrong"
    wrong.write_text(secrets.token_hex(32))
    for environment in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN_PATH": str(wrong)}):
        done = submit(head, file, tmp_path / "store", environment=environment)
        assert done.exit_code == 2, done.output
        assert "no valid token; valid: the cluster's token in RAY_AUTH_TOKEN" in done.stderr
        assert "ray get-auth-token --generate" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_wrong_file_is_not_sent(head: RayHead, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("name: x")
    done = kmcl("submit", file, "--address", head.address, store=tmp_path / "store")
    assert done.exit_code == 2
    assert "wrong.yaml: " in done.stderr
