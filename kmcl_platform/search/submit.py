"""Send a search to a Ray cluster as a job."""

import os
import shutil
import tempfile
from pathlib import Path

import kmcl_platform
from kmcl_platform.config.search_file_reader import parse_search_file, read_bytes
from kmcl_platform.config.store import Store
from kmcl_platform.errors import ClusterError
from kmcl_platform.search.jobs import SEARCH, Jobs

STOP_SECONDS = 120
"""How long a job that is to stop may take to close its runs before Ray kills it; Ray's own 3 seconds are too few."""


def submit_search(path: Path, address: str, store: Store, tracking_uri: str | None) -> str:
    """Check a search file and send it to a cluster, with the package's code and the job's script.

    Args:
        path: the search file.
        address: Ray's job server, `http://HOST:8265`.
        store: its folder must be on storage that the cluster's nodes see under the same path.
        tracking_uri: MLflow's address as the cluster sees it; none: SQLite in the store.

    Returns:
        The job's id.

    Raises:
        ConfigError: the file is invalid; nothing was sent.
        ClusterError: the cluster cannot be reached, or wants a token that it was not given.
    """
    content = read_bytes(path)
    file = parse_search_file(content, str(path))
    environment = {"KMCL_STORE": str(store.root), "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
    if tracking_uri:
        environment["KMCL_TRACKING_URI"] = tracking_uri
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _gather(folder, content)
        return Jobs(address).submit(
            entrypoint="python jobs/run_search.py search.yaml",
            runtime_env={"working_dir": str(folder), "env_vars": environment},
            metadata={SEARCH: file.name},
        )


def _gather(folder: Path, content: bytes) -> None:
    """Lay out what the job needs: our package, the job's script, the search file; nothing else leaves the machine."""
    package = Path(kmcl_platform.__file__).parent
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, folder / "kmcl_platform", ignore=ignore)
    (folder / "jobs").mkdir()
    script = package.parent / "jobs" / "run_search.py"
    if not script.is_file():
        raise ClusterError(f"{script}: no such file; valid: submit from a checkout of the project")
    shutil.copy(script, folder / "jobs" / "run_search.py")
    (folder / "search.yaml").write_bytes(content)
