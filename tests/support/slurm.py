"""A SLURM cluster for tests: real daemons on loopback, in a folder of their own, with two nodes on this machine."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
"""Debian: munge, slurmctld, slurmd, slurm-client."""

MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
"""Programs that are not installed."""

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MailProg=/bin/true
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A cluster of two nodes with two CPUs each, whatever this machine has. It runs as this user.

    Attributes:
        environment: what its commands need.
    """

    def __init__(self, folder: Path) -> None:
        for name in ("state", "spool"):
            (folder / name).mkdir()
        self._folder = folder
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        sockets = [socket.socket() for _ in range(3)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        ports = [probe.getsockname()[1] for probe in sockets]
        for probe in sockets:
            probe.close()
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        host = socket.gethostname().partition(".")[0]
        text = CONFIGURATION.format(folder=folder, host=host, user=user, ports=ports)
        (folder / "slurm.conf").write_text(text)
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        munge = [f"--{name}={folder / file}" for name, file in (
            ("key-file", "munge.key"), ("socket", "munge.sock"), ("pid-file", "munged.pid"),
            ("log-file", "munged.log"), ("seed-file", "munged.seed"),
        )]  # fmt: skip
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start("munged", "--foreground", "--force", *munge)
        self._wait_for(folder / "munge.sock")
        self._start("slurmctld", "-D", "-c")
        for node in ("n1", "n2"):
            self._start("slurmd", "-D", "-N", node)
        deadline = time.monotonic() + 60
        while self.run("sinfo", "-h", "-o", "%T %D").split() != ["idle", "2"]:
            assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()
            time.sleep(0.5)

    def run(self, *words: str) -> str:
        """The output of a command of SLURM; empty if it fails."""
        answer = subprocess.run(words, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        return answer.stdout

    def stop(self) -> None:
        """End all jobs and daemons."""
        self.run("scancel", "--state=PENDING")
        self.run("scancel", "--full", "--signal=KILL", "--state=RUNNING")
        for process in reversed(self._processes):
            process.terminate()
            process.wait(60)

    def _start(self, *words: str) -> None:
        with (self._folder / f"{words[0]}-{len(self._processes)}.out").open("wb") as output:
            self._processes.append(
                subprocess.Popen(words, env=os.environ | self.environment, stdout=output, stderr=output)
            )

    def _wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + 30
        while not path.exists():
            assert time.monotonic() < deadline, f"{path} is missing"
            time.sleep(0.1)
