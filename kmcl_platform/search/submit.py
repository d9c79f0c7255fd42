"""Send a search to a Ray cluster as a job."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kmcl_platform
from kmcl_platform.config.search_file_reader import parse_search_file, read_bytes
from kmcl_platform.config.store import Store
from kmcl_platform.errors import ClusterError


@dataclass(frozen=True)
class SubmittedJob:
    """A job on a cluster.

    Attributes:
        job_id: Ray's name of it.
        dashboard: where Ray's dashboard shows it.
        client: the connection that submitted it.
    """

    job_id: str
    dashboard: str
    client: Any


def submit_search(path: Path, address: str, store: Store, tracking_uri: str | None) -> SubmittedJob:
    """Check a search file and send it to a cluster, with the package's code and the job's script.

    Args:
        path: the search file.
        address: Ray's job server, `http://HOST:8265`.
        store: its folder must be on storage that the cluster's nodes see under the same path.
        tracking_uri: MLflow's address as the cluster sees it; none: SQLite in the store.

    Raises:
        ConfigError: the file is invalid; nothing was sent.
        ClusterError: the cluster cannot be reached, or wants a token that it was not given.
    """
    content = read_bytes(path)
    parse_search_file(content, str(path))
    environment = {"KMCL_STORE": str(store.root)}
    if tracking_uri:
        environment["KMCL_TRACKING_URI"] = tracking_uri
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _gather(folder, content)
        client = _connect(address)
        try:
            job_id = client.submit_job(
                entrypoint="python jobs/run_search.py search.yaml",
                runtime_env={"working_dir": str(folder), "env_vars": environment},
            )
        except RuntimeError as error:
            raise _refusal(address, error) from None
    return SubmittedJob(job_id, f"{address.rstrip('/')}/#/jobs/{job_id}", client)


def follow_job(job: SubmittedJob, say: Callable[[str], None]) -> bool:
    """Print a job's output until it ends; whether it succeeded."""

    async def tail() -> None:
        async for lines in job.client.tail_job_logs(job.job_id):
            say(lines.rstrip("\n"))

    asyncio.run(tail())
    return str(job.client.get_job_status(job.job_id)) == "SUCCEEDED"


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


def _connect(address: str) -> Any:
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise _refusal(address, error) from None


def _refusal(address: str, error: Exception) -> ClusterError:
    text = " ".join(str(error).split())
    if any(sign in text for sign in ("401", "403", "nauthorized", "orbidden", "uthentication")):
        return ClusterError(
            f"{address}: refused, no valid token; valid: the cluster's token in RAY_AUTH_TOKEN or in the file that "
            "RAY_AUTH_TOKEN_PATH names, and RAY_AUTH_MODE=token"
        )
    return ClusterError(f"{address}: cannot be used: {text[:300]}")
