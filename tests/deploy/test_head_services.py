"""The services of a head, with a real PostgreSQL server on loopback: MLflow's server and the database of the studies."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import open_store
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.database import connect
from tests.support.waiting import free_port, wait_until

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "head_services.sh"
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))

pytestmark = [
    pytest.mark.long,
    pytest.mark.takes(60),
    pytest.mark.skipif(not SERVERS, reason="needs PostgreSQL's server programs (Debian: postgresql)"),
]


class Postgres:
    """A PostgreSQL server in a folder of its own. PostgreSQL refuses to run as root, so root starts it as `nobody`."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._user = None if os.getuid() else pwd.getpwnam("nobody")
        if self._user:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self._folder = folder
        self._run(
            "initdb", "-D", str(folder / "data"), "-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256"
        )
        self._server = subprocess.Popen(
            [str(SERVERS[-1] / "postgres"), "-D", str(folder / "data"), "-k", str(folder), "-h", "127.0.0.1"]
            + ["-p", str(self.port)],
            **self._identity(),
        )
        ready = [SERVERS[-1] / "pg_isready", "-h", folder, "-p", str(self.port)]
        wait_until(
            lambda: subprocess.run(ready, stdout=subprocess.DEVNULL, check=False).returncode == 0,
            seconds=60, process=self._server,
        )  # fmt: skip

    @property
    def admin(self) -> str:
        """The psql command of a user who may create roles. It connects by the socket in the folder, without a password."""
        return f"psql -h {self._folder} -p {self.port} -U postgres"

    def stop(self) -> None:
        self._server.send_signal(signal.SIGINT)  # PostgreSQL ends without waiting for its clients
        self._server.wait(60)

    def _run(self, program: str, *words: str) -> None:
        subprocess.run([str(SERVERS[-1] / program), *words], check=True, stdout=-3, **self._identity())

    def _identity(self) -> dict[str, object]:
        common: dict[str, object] = {"cwd": self._folder, "stderr": subprocess.DEVNULL}
        if self._user:
            common |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return common


class Head:
    """A head with an empty disk. Its store is on another disk and stays when the head ends."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.store = store
        self.mlflow_port = free_port()
        # Not pytest's folder: the server's user may not enter it.
        self._disk = Path(tempfile.mkdtemp(prefix="kmcl-pg-"))
        self.postgres = Postgres(self._disk)

    def run(self, action: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "HOME": str(self.home),
            "KMCL_STORE": str(self.store),
            "KMCL_BIN": str(Path(sys.executable).parent),
            "KMCL_MLFLOW_PORT": str(self.mlflow_port),
            "KMCL_PG_ADMIN": self.postgres.admin,
            "PGPORT": str(self.postgres.port),
        }
        return subprocess.run(["bash", SCRIPT, action], env=environment, capture_output=True, text=True, timeout=300)

    @property
    def mlflow(self) -> psutil.Process | None:
        path = self.home / ".kmcl" / "mlflow.pid"
        number = int(path.read_text()) if path.exists() else 0
        return psutil.Process(number) if number and psutil.pid_exists(number) else None

    @property
    def tracking_uri(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def study_url(self) -> str:
        return f"postgresql+psycopg://kmcl@127.0.0.1:{self.postgres.port}/kmcl_studies"

    def die(self) -> None:
        if self.mlflow:
            ended = [self.mlflow, *self.mlflow.children(recursive=True)]
            for process in ended:
                process.terminate()
            psutil.wait_procs(ended, timeout=30)
        self.postgres.stop()
        shutil.rmtree(self._disk)


@pytest.fixture
def heads(tmp_path: Path) -> Iterator[list[Head]]:
    """Two heads with one store, of which the tests use one after the other."""
    made: list[Head] = []

    def head(name: str) -> Head:
        folder = tmp_path / name
        folder.mkdir()
        made.append(Head(folder, tmp_path / "kmcl_store"))
        return made[-1]

    try:
        yield [head("first"), head("second")]
    finally:
        for one in made:
            one.die()


def test_a_new_head_restores_the_dumped_records_and_studies(
    heads: list[Head], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = heads
    started = first.run("start")
    assert started.returncode == 0, started.stderr
    assert first.run("start").returncode == 0, "a second start changes nothing"
    _check_closed(first)

    file = parse_search_file(
        b"name: few\nspace: {optim.lr: {kind: loguniform, low: 1e-4, high: 1e-2}}\nbudget: {trials: 2}\n", "few.yaml"
    )
    monkeypatch.setenv("PGPASSFILE", str(first.home / ".pgpass"))
    client = connect(open_store(tmp_path / "kmcl_store", first.tracking_uri))
    run = client.create_run(client.create_experiment("few"), run_name="trial 0")
    client.log_metric(run.info.run_id, "val/mAP", 0.5, step=1)
    point = DurableStudy(first.study_url, file).next_point()
    assert point is not None and point.number == 0

    dumped = first.run("dump")
    assert dumped.returncode == 0, dumped.stderr
    started = second.run("start")
    assert started.returncode == 0, started.stderr

    monkeypatch.setenv("PGPASSFILE", str(second.home / ".pgpass"))
    again = connect(open_store(tmp_path / "kmcl_store", second.tracking_uri)).get_run(run.info.run_id)
    assert again.data.metrics == {"val/mAP": 0.5}
    continued = DurableStudy(second.study_url, file).next_point()
    assert continued is not None and continued.config == point.config, "the interrupted trial is handed out again"


def _check_closed(head: Head) -> None:
    """The password is in one file that only its owner can read, and MLflow listens on loopback only."""
    secret_file = head.home / ".pgpass"
    assert stat.S_IMODE(secret_file.stat().st_mode) == 0o600
    secret = secret_file.read_text().strip().rpartition(":")[2]
    assert len(secret) == 48
    assert head.mlflow is not None
    family = [head.mlflow, *head.mlflow.children(recursive=True)]
    for process in family:
        assert secret not in " ".join([*process.cmdline(), *process.environ().values()])
    listening = [c.laddr for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {(address.ip, address.port) for address in listening} == {("127.0.0.1", head.mlflow_port)}
    assert secret not in (head.home / ".kmcl" / "mlflow.log").read_text()
