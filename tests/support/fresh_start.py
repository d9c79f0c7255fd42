"""An MLflow database that two processes prepared at the same moment, once for the session."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.session import make_once

PREPARE = """
import sys
from pathlib import Path
from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.database import prepare_store
print("ready", flush=True)
sys.stdin.readline()
prepare_store(open_store(Path(sys.argv[1])))
"""


@dataclass(frozen=True)
class FreshStart:
    """A store that two processes prepared at the same moment, when its folder did not exist yet.

    Attributes:
        root: the store's folder.
        exit_codes: of the two processes.
        errors: their standard errors.
    """

    root: Path
    exit_codes: list[int]
    errors: list[str]


def read_fresh_start(factory: pytest.TempPathFactory) -> FreshStart:
    """The session's fresh start, which the first caller makes."""
    folder = make_once(factory, "fresh_start", _make)
    return FreshStart(folder / "store", **json.loads((folder / "result.json").read_text()))


def _make(folder: Path) -> None:
    command = [sys.executable, "-c", PREPARE, str(folder / "store")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=300)[1] for process in processes]
    result = {"exit_codes": [process.returncode for process in processes], "errors": errors}
    (folder / "result.json").write_text(json.dumps(result))
