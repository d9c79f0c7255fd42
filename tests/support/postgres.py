"""A PostgreSQL server for tests: real, on loopback, in a folder of its own."""

import os
import pwd
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
"""The folders of the server's programs (Debian: postgresql), the newest last; empty: not installed."""


class Postgres:
    """A server with the user `postgres`; over the socket in its folder it asks for no password.

    PostgreSQL refuses to run as root, so that it then runs as `nobody`; the folder must be open to that user.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._user = None if os.getuid() else pwd.getpwnam("nobody")
        if self._user:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self._folder = folder
        self._run(
            "initdb",
            "-D",
            str(folder / "data"),
            "-U",
            "postgres",
            "--no-sync",
            "--auth-local=trust",
            "--auth-host=trust",
        )
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._server = subprocess.Popen(
            [str(PROGRAMS[-1] / "postgres"), "-D", str(self._folder / "data"), "-k", str(self._folder)]
            + ["-h", "127.0.0.1", "-p", str(self.port)],
            **self._identity(),
        )
        deadline = time.monotonic() + 60
        ready = [str(PROGRAMS[-1] / "pg_isready"), "-h", str(self._folder), "-p", str(self.port)]
        while subprocess.run(ready, stdout=subprocess.DEVNULL).returncode:
            assert time.monotonic() < deadline and self._server.poll() is None, "PostgreSQL does not start"
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server; it breaks off every connection."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait(60)

    def execute(self, statement: str) -> str:
        """Run a statement as the administrator; its output."""
        command = [
            str(PROGRAMS[-1] / "psql"),
            "-h",
            str(self._folder),
            "-p",
            str(self.port),
            "-U",
            "postgres",
            "-Atc",
            statement,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def url(self, database: str) -> str:
        """The address of a database, as SQLAlchemy reads it."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *words: str) -> None:
        command = [str(PROGRAMS[-1] / program), *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._identity())

    def _identity(self) -> dict[str, Any]:
        common: dict[str, Any] = {"cwd": self._folder, "stderr": subprocess.DEVNULL}
        if self._user:
            common |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return common
