"""The main process of a SLURM job, with a real Ray and a real search. SLURM's own commands are replaced.

tests/integration/test_slurm.py has a real SLURM, if it is installed.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from kmcl_platform.errors import ClusterError
from kmcl_platform.search.slurm.job import Job
from kmcl_platform.search.slurm.submit import SCRIPT
from tests.support.finished_search import end_group, read_runs
from tests.support.waiting import wait_until

PROGRAMS = {
    # It runs the command on this machine.
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
    "scontrol": 'case "$1" in show) echo n1;; requeue) echo "$2" > "{place}/queued";; esac',
}

JOB = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "n1", "SLURM_CPUS_PER_TASK": "2"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in PROGRAMS.items():
        (folder / name).write_text("#!/bin/sh\n" + text.replace("{place}", str(tmp_path)) + "\n")
        (folder / name).chmod(0o700)
    return JOB | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Mapping[str, str], Path], "subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(environment: Mapping[str, str], file: Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(SCRIPT), "search", str(file), "--store", str(tmp_path / "store")]
        with (tmp_path / "output.log").open("ab") as output:
            process = subprocess.Popen(
                command, env=os.environ | environment, stdout=output, stderr=output, start_new_session=True
            )
        started.append(process)
        return process

    yield begin
    for process in started:
        end_group(process)


@pytest.mark.cluster
def test_the_search_stops_before_the_end_of_the_job_and_goes_on_in_its_next_run(
    environment: dict[str, str],
    start: Callable[[Mapping[str, str], Path], "subprocess.Popen[bytes]"],
    small_search: Callable[..., Path],
    small_manifest: Path,
    tmp_path: Path,
) -> None:
    log = tmp_path / "output.log"
    file = small_search(tmp_path, small_manifest, trials=6)
    first = start(environment, file)
    wait_until(lambda: log.exists() and "finished after" in log.read_text(), process=first, log=log)
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in [one for one in psutil.process_iter() if "/tmp/kmcl-77" in " ".join(command_of(one))]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    # SLURM sends it to this process alone, and ends the job after `requeue`.
    os.kill(first.pid, signal.SIGUSR1)
    wait_until(lambda: (tmp_path / "queued").exists(), process=first, log=log)
    assert (tmp_path / "queued").read_text() == "77\n"
    end_group(first)
    said = log.read_text()
    assert "stopped; nothing is lost" in said and "job 77: its time ends, so it is queued again" in said
    assert not Path("/tmp/kmcl-77").exists()
    second = start(environment | {"SLURM_RESTART_COUNT": "1"}, file)
    assert second.wait(300) == 0, log.read_text()
    assert "job 77 on n1, continued\n" in log.read_text()
    assert {run.info.status for run in read_runs(tmp_path / "store", "small")} == {"FINISHED"}


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_outside_of_a_job_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ClusterError, match="SLURM_JOB_ID: got nothing; valid: a process of a SLURM job"):
        Job()


def test_ray_that_does_not_start_is_one_line(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin" / "srun").write_text("#!/bin/sh\necho 'srun: error: no such node' >&2\nexit 3\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClusterError) as caught:
        Job().run(["search", "file.yaml"])
    assert str(caught.value) == "slurm: Ray ended on a node with code 3: srun: error: no such node"
