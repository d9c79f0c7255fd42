"""The jobs of a Ray cluster: submit, list, read, stop."""

import asyncio
import datetime
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from kmcl_platform.errors import ClusterError
from kmcl_platform.messages import show_value

SEARCH = "kmcl_search"
"""A job's metadata: the name of the search that it runs."""

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Job:
    """A job of the cluster that runs or ran a search.

    Attributes:
        job_id: Ray's name of the job.
        search: the name of the search.
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        started: the time of its start; None: it has not started.
        message: Ray's explanation of the status.
    """

    job_id: str
    search: str
    status: str
    started: datetime.datetime | None
    message: str


class Jobs:
    """The job server of a cluster.

    Args:
        address: `http://HOST:8265`.

    Raises:
        ClusterError: by the constructor and by every method: the cluster cannot be reached, or needs a token that was
            not given.
    """

    def __init__(self, address: str) -> None:
        from ray.exceptions import RayError
        from ray.job_submission import JobSubmissionClient

        self._address = address
        # Ray would print a line for each package that it sends.
        logging.getLogger("ray").setLevel(logging.WARNING)
        try:
            self._client: Any = JobSubmissionClient(address)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            raise _refusal(address, error) from None

    def submit(self, *, entrypoint: str, runtime_env: dict[str, Any], metadata: dict[str, str]) -> str:
        """Start a job.

        Returns:
            The job's id.
        """
        submit = self._client.submit_job
        return str(self._ask(submit, entrypoint=entrypoint, runtime_env=runtime_env, metadata=metadata))

    def run(self, *, entrypoint: str, runtime_env: dict[str, Any], seconds: float) -> tuple[bool, str]:
        """Start a job that is not a search, and wait for its end.

        Returns:
            Whether it succeeded, and its output.

        Raises:
            ClusterError: it has not ended within `seconds`.
        """
        job_id = self.submit(entrypoint=entrypoint, runtime_env=runtime_env, metadata={})
        status = self._wait(job_id, seconds)
        return status == "SUCCEEDED", str(self._ask(self._client.get_job_logs, job_id))

    def list(self) -> list[Job]:
        """The jobs that `kmcl submit` has started, the latest first."""
        found = []
        for details in self._ask(self._client.list_jobs):
            # Ray also lists drivers that were started on the cluster itself, without `kmcl submit`.
            if details.submission_id and SEARCH in (details.metadata or {}):
                found.append(_to_job(details))
        # Jobs that wait for their start come last.
        never = datetime.datetime.min.replace(tzinfo=datetime.UTC)
        return sorted(found, key=lambda job: job.started or never, reverse=True)

    def status(self, job_id: str) -> str:
        """A job's status."""
        return str(self._ask(self._client.get_job_status, self._check(job_id)).value)

    def logs(self, job_id: str) -> str:
        """The output of a job up to now."""
        return str(self._ask(self._client.get_job_logs, self._check(job_id)))

    def follow(self, job_id: str, say: Callable[[str], None]) -> bool:
        """Print a job's output until it ends.

        Returns:
            Whether the job succeeded.
        """
        from aiohttp import ClientError

        self._check(job_id)

        async def tail() -> None:
            async for lines in self._client.tail_job_logs(job_id):
                say(lines.rstrip("\n"))

        try:
            asyncio.run(tail())
        except (ClientError, RuntimeError) as error:
            # Not OSError in general: `say` raises one if the reader of our output ends first (`| head`).
            raise _refusal(self._address, error) from None
        return self.status(job_id) == "SUCCEEDED"

    def stop(self, job_id: str, *, seconds: float) -> str:
        """Stop a job, and wait for its end.

        Returns:
            Its last status.

        Raises:
            ClusterError: it has not ended within `seconds`.
        """
        self._ask(self._client.stop_job, self._check(job_id))
        return self._wait(job_id, seconds)

    def ray_version(self) -> str:
        """The version of Ray that the cluster runs."""
        # Ray's client reads this page too, but offers only the version of the dashboard's interface.
        response = self._ask(self._client._do_request, "GET", "/api/version")
        return str(response.json()["ray_version"])

    def link(self, job_id: str) -> str:
        """The address of a job's page in Ray's dashboard."""
        return f"{self._address.rstrip('/')}/#/jobs/{job_id}"

    def _wait(self, job_id: str, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while (status := str(self._ask(self._client.get_job_status, job_id).value)) not in ENDED:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"job {job_id}: still {status} after {seconds:.0f} s; valid: a job that ends by itself; "
                    f"kmcl logs {job_id} shows its output"
                )
            time.sleep(0.5)
        return status

    def _check(self, job_id: str) -> str:
        # Asked first, so that a wrong id gets a list of valid ones. Ray's own error has none.
        known = [job.job_id for job in self.list()]
        if job_id not in known:
            raise ClusterError(
                f"job: got {show_value(job_id)}; valid: {', '.join(known) or 'the ID of a job after kmcl submit'}"
            )
        return job_id

    def _ask(self, request: Callable[..., Any], *words: Any, **named: Any) -> Any:
        from ray.exceptions import RayError
        from requests.exceptions import RequestException

        try:
            return request(*words, **named)
        except (ConnectionError, RequestException, RuntimeError, RayError) as error:
            # `requests` has its own ConnectionError, which is not Python's. A token can become invalid at any time.
            raise _refusal(self._address, error) from None


def _to_job(details: Any) -> Job:
    started = details.start_time
    return Job(
        job_id=details.submission_id,
        search=details.metadata[SEARCH],
        status=str(details.status.value),
        started=datetime.datetime.fromtimestamp(started / 1000, datetime.UTC) if started else None,
        message=" ".join((details.message or "").split()),
    )


def _refusal(address: str, error: Exception) -> ClusterError:
    # Ray has no type for each of these errors. Only the text shows a refused token. First letters are left out, because
    # they are written large or small.
    text = " ".join(str(error).split())
    # The text may have the address, and a port such as 40141 is no status code.
    if re.search(r"\b40[13]\b|nauthorized|orbidden|uthentication", text.replace(urlsplit(address).netloc, "")):
        return ClusterError(
            f"{address}: refused, no valid token; valid: the cluster's token in RAY_AUTH_TOKEN or in the file that "
            "RAY_AUTH_TOKEN_PATH names, and RAY_AUTH_MODE=token; on the cluster's head, ray get-auth-token prints the "
            "token; ray get-auth-token --generate makes one for a new cluster"
        )
    return ClusterError(
        f"{address}: cannot be used: {text[:300].rstrip('.')}; valid: a Ray job server that runs, http://HOST:8265"
    )
