"""An MLflow server on loopback that a test can kill and start again."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.waiting import answers, free_port, wait_until


class MlflowServer:
    """A server with a SQLite database, or another one, and a folder for artifacts.

    Attributes:
        folder: holds the database `server.db`, the folder `artifacts` and the log `server.txt`.
        port: its TCP port; a second start uses the same.
    """

    def __init__(self, folder: Path, database: Path | str, *, workers: int = 1) -> None:
        """
        Args:
            folder: an existing folder of its own.
            database: an initialised MLflow database, which is copied: to make the tables takes MLflow seconds. Or the
                address of an empty one on another server.
            workers: number of its processes.
        """
        self.folder = folder
        self.port = free_port()
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None
        self._database = database if isinstance(database, str) else f"sqlite:///{folder}/server.db"
        if isinstance(database, Path):
            shutil.copy(database, folder / "server.db")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server; returns when it answers."""
        command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self._database,
            "--artifacts-destination", str(self.folder / "artifacts"), "--host", "127.0.0.1",
            "--port", str(self.port), "--workers", str(self._workers),
        ]  # fmt: skip
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        log = self.folder / "server.txt"
        with log.open("a") as output:
            self._process = subprocess.Popen(
                command,
                env=os.environ | settings,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self.folder,
            )
        wait_until(lambda: answers(f"{self.address}/health"), seconds=180, process=self._process, log=log)

    def kill(self) -> None:
        """End all its processes without warning."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None
