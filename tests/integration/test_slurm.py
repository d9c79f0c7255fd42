"""Searches as jobs of a real SLURM: on two nodes, stopped at the end of their time, and continued."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from tests.support.command_line import kmcl
from tests.support.finished_search import read_runs
from tests.support.slurm import MISSING, Slurm
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.long,
    pytest.mark.takes(300),
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed (Debian: munge, slurmctld, slurmd)"),
]

SECONDS = 600


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    folder = tmp_path / "slurm"
    folder.mkdir()
    cluster = Slurm(folder)
    yield cluster
    cluster.stop()


def submit(slurm: Slurm, file: Path, store: Path, *options: str) -> tuple[str, Path]:
    """The number of a new job, and the file with its output."""
    answer = kmcl("submit", file, "--slurm", *options, "--store", store, environment=slurm.environment)
    assert answer.exit_code == 0, answer.output
    found = re.search(r"job (\d+) submitted", answer.output)
    output = re.search(r"logs +tail -f (\S+)", answer.output)
    assert found and output
    return found[1], Path(output[1])


def wait_for_end(slurm: Slurm, job: str, output: Path) -> None:
    wait_until(lambda: not slurm.run("squeue", "-h", "-j", job), seconds=SECONDS, log=output)


def test_a_search_runs_on_all_nodes_of_its_job(
    slurm: Slurm, small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    job, output = submit(
        slurm,
        small_search(tmp_path, small_manifest, workers=1),
        store,
        "--sbatch=--nodes=2",
        "--sbatch=--cpus-per-task=2",
    )
    wait_for_end(slurm, job, output)
    said = output.read_text()
    assert f"job {job} on n1, n2\n" in said
    # This machine's own CPUs do not count: four places of one CPU.
    assert re.search(r"; [34] at once", said), said
    assert ": finished (" in said
    assert {run.info.status for run in read_runs(store, "small")} == {"FINISHED"}
    assert not list(Path("/tmp").glob(f"kmcl-{job}*"))


def test_a_job_whose_time_ends_goes_on_where_it_stopped(
    slurm: Slurm, small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    # SLURM counts minutes. The search stops after about 70 seconds of 120.
    file = small_search(tmp_path, small_manifest, trials=60, workers=1)
    options = ("--sbatch=--cpus-per-task=2", "--sbatch=--time=2", "--stop-seconds", "45")
    job, output = submit(slurm, file, store, *options)
    wait_until(lambda: output.exists() and "queued again" in output.read_text(), seconds=SECONDS, log=output)
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{store}/optuna.db")
    before = {one.number: one.intermediate_values for one in study.get_trials() if one.state.is_finished()}
    wait_until(lambda: ", continued" in output.read_text(), seconds=SECONDS, log=output)
    assert job in slurm.run("squeue", "-h", "-o", "%i").split()
    # It is ended by hand: what it would still do is what it did before.
    slurm.run("scancel", "--batch", "--signal=TERM", job)
    wait_for_end(slurm, job, output)
    said = output.read_text()
    assert said.count("so it is queued again") == 1 and said.count(f"job {job} on n1") == 2
    after = {one.number: one.intermediate_values for one in study.get_trials()}
    assert {number: after[number] for number in before} == before
    assert {run.info.status for run in read_runs(store, "small")} <= {"FINISHED", "KILLED"}
