"""Problems of a Ray cluster that searches are sent to: another version of Ray, reservations that no job uses."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kmcl_platform.errors import ClusterError
from kmcl_platform.messages import count_of
from kmcl_platform.search.cluster.finding import Finding
from kmcl_platform.search.cluster.jobs import Jobs
from kmcl_platform.search.cluster.submit import copy_job_files

REMOVE_SECONDS = 120
_LIMIT = 10_000
"""The largest number of entries that Ray's state API lists."""

HELD = ("CREATED", "PENDING", "RESCHEDULING", "PREPARED")
"""States of a placement group that holds resources, or waits for them."""


def examine_cluster(address: str) -> list[Finding]:
    """Examine a cluster; this changes nothing.

    Args:
        address: Ray's job server, `http://HOST:8265`.

    Raises:
        ClusterError: it cannot be reached, or needs a token that was not given.
    """
    cluster = Jobs(address)
    return [*_check_version(cluster), *_check_reservations(cluster, address)]


def _check_version(cluster: Jobs) -> Iterator[Finding]:
    import ray

    theirs = cluster.ray_version()
    if theirs != ray.__version__:
        yield Finding(
            f"cluster: Ray {theirs}, here Ray {ray.__version__}",
            "use the same Ray on both sides: install requirements.lock on the cluster's nodes and start it again",
        )


def _check_reservations(cluster: Jobs, address: str) -> Iterator[Finding]:
    from ray.util.state import list_jobs, list_placement_groups

    # The groups are listed first: a job that begins between the two lists is then in the list of jobs.
    groups = [group for group in list_placement_groups(address=address, limit=_LIMIT) if group.state in HELD]
    alive = {job.job_id for job in list_jobs(address=address, limit=_LIMIT) if job.status in ("PENDING", "RUNNING")}
    orphans = [group for group in groups if group.creator_job_id not in alive]
    if orphans:
        yield Finding(
            f"cluster: {count_of(len(orphans), 'placement group')} of ended jobs still hold "
            f"resources ({', '.join(_name(group) for group in orphans[:4])}{', …' if len(orphans) > 4 else ''})",
            "remove them",
            lambda: _remove(cluster, [str(group.placement_group_id) for group in orphans]),
        )


def _name(group: Any) -> str:
    return f"{group.name or group.placement_group_id} of job {group.creator_job_id}"


def _remove(cluster: Jobs, group_ids: list[str]) -> None:
    # A job, because only a driver inside the cluster can remove a group. The state API only lists them.
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        copy_job_files(folder)
        done, printed = cluster.run(
            entrypoint=f"python jobs/remove_placement_groups.py {' '.join(group_ids)}",
            runtime_env={"working_dir": str(folder)},
            seconds=REMOVE_SECONDS,
        )
    if not done:
        raise ClusterError(
            f"placement groups: not removed: {' '.join(printed.split())[-300:]}; valid: a cluster with Ray of the same "
            "version; or stop and start the cluster, which removes them"
        )
