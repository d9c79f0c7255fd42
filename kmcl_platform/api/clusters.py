"""Ray clusters: send a search there as a job; find and repair what dead processes have left."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import RenderableType

from kmcl_platform.api.searches import AnyFile, as_source
from kmcl_platform.api.store import AnyStore, as_store
from kmcl_platform.messages import mask_passwords, show_path
from kmcl_platform.shown import Shown

if TYPE_CHECKING:
    from kmcl_platform.search.cluster.finding import Finding
    from kmcl_platform.search.cluster.jobs import Jobs
    from kmcl_platform.search.slurm.submit import SlurmJob


@dataclass(frozen=True)
class SubmittedJob:
    """A search that was sent to a cluster.

    Attributes:
        job_id: Ray's name of the job.
        address: the cluster's job server.
        jobs: the jobs of the cluster: `jobs.logs(job_id)`, `jobs.stop(job_id)`.
    """

    job_id: str
    address: str
    jobs: "Jobs"

    @property
    def dashboard(self) -> str:
        """The page of the job in Ray's dashboard."""
        return mask_passwords(self.jobs.link(self.job_id))

    def follow(self, say: Callable[[str], None]) -> bool:
        """Pass on each line of the job's output until it ends; returns whether it succeeded."""
        return self.jobs.follow(self.job_id, say)

    def logs(self) -> str:
        """The job's output so far."""
        return self.jobs.logs(self.job_id)

    def stop(self) -> str:
        """See `stop_job`."""
        return stop_job(self.job_id, address=self.address)


def submit(
    file: AnyFile,
    *,
    address: str,
    store: AnyStore = None,
    secrets: Sequence[str] = (),
    allow_changed_plugins: bool = False,
    extend: bool = False,
    say: Callable[[str], None] = print,
) -> SubmittedJob:
    """Send a search to a Ray cluster as a job; every node must see the store's folder under the same path.

    Args:
        file: the search, or the path of its file.
        address: Ray's job server, `http://HOST:8265`.
        store: where the search will be kept. Its addresses are those that the cluster sees.
        secrets: names of environment variables whose values the search's driver gets, hidden from other users.
        allow_changed_plugins: go on with the code that plug-ins have now; trials that have begun keep theirs.
        extend: go on with the space of the file, whose ranges may be others, and which may have new paths.
        say: prints one line about a step that takes long.

    Raises:
        ConfigError: the file is invalid, or a secret is not set; nothing was sent.
        ClusterError: the cluster cannot be reached, or needs a token that was not given.
    """
    from kmcl_platform.search.cluster.submit import submit_search

    places = as_store(store)
    job_id = submit_search(
        as_source(file),
        address,
        places,
        tracking_uri=None if places.is_local else places.tracking_uri,
        study_url=None if places.has_own_study else places.study_url,
        secret_names=secrets,
        allow_changed_plugins=allow_changed_plugins,
        extend=extend,
        say=say,
    )
    return SubmittedJob(job_id, address, open_jobs(address))


def submit_to_slurm(
    file: AnyFile,
    *,
    store: AnyStore = None,
    options: Sequence[str] = (),
    stop_seconds: int = 180,
    allow_changed_plugins: bool = False,
    extend: bool = False,
) -> "SlurmJob":
    """Send a search to SLURM, as a job with a Ray cluster of its own; all nodes must see the store's folder.

    Before the job's time ends, the search stops in an orderly way, and the job is queued again; it then continues.

    Args:
        file: the search, or the path of its file.
        store: where the search will be kept.
        options: of sbatch, such as `--nodes=2`, `--time=8:00:00` or `--gres=gpu:4`.
        stop_seconds: how long before the end of the job's time the search is stopped.
        allow_changed_plugins: as for `submit`.
        extend: as for `submit`.

    Raises:
        ConfigError: the file or an option is invalid; nothing was written.
        ClusterError: SLURM is not on this machine, or refuses the job.
    """
    from kmcl_platform.search.slurm.submit import submit_to_slurm as submit_it

    return submit_it(
        as_source(file),
        as_store(store),
        options=options,
        stop_seconds=stop_seconds,
        allow_changed_plugins=allow_changed_plugins,
        extend=extend,
    )


def open_jobs(address: str) -> "Jobs":
    """The jobs of a cluster: `list()`, `logs(ID)`, `follow(ID, say)`.

    Raises:
        ClusterError: it cannot be reached, or needs a token that was not given.
    """
    from kmcl_platform.search.cluster.jobs import Jobs

    return Jobs(address)


def stop_job(job_id: str, *, address: str) -> str:
    """Stop a job in an orderly way: its trials keep their checkpoints, and its search can be continued.

    Returns:
        Ray's status of the job, usually STOPPED.

    Raises:
        ClusterError: the cluster cannot be reached, or has no such job.
    """
    from kmcl_platform.search.cluster.jobs import Jobs
    from kmcl_platform.search.cluster.submit import STOP_SECONDS

    # Longer than Ray itself waits for the job, so that Ray's answer comes first.
    return Jobs(address).stop(job_id, seconds=STOP_SECONDS + 30)


@dataclass(frozen=True)
class Findings(Shown):
    """Problems of a store or a cluster, and what repairs each.

    Attributes:
        findings: one for each problem.
        repairs: whether they are about to be repaired.
    """

    findings: tuple["Finding", ...]
    repairs: bool = False

    @property
    def repairable(self) -> tuple["Finding", ...]:
        """Those that can be repaired here."""
        return tuple(one for one in self.findings if one.fix is not None)

    def repair(self) -> Iterator["Finding"]:
        """Repair them one after another; yields each when it is done."""
        for one in self.repairable:
            assert one.fix is not None
            one.fix()
            yield one

    def parts(self) -> Iterable[RenderableType]:
        """All problems, with every path that would be deleted."""
        for one in self.findings:
            yield one.problem
            yield f"  {'remedy' if one.fix is None else 'will' if self.repairs else 'would'}: {one.remedy}"
            yield from (f"    delete {show_path(path)}" for path in one.deletes)
        if not self.findings:
            yield "all is well"


@contextmanager
def doctor(*, store: AnyStore = None, address: str | None = None, repair: bool = False) -> Iterator[Findings]:
    """Find what dead processes have left in a store, or what is wrong with a cluster; nothing is changed.

        with doctor(store="kmcl_store", repair=True) as found:
            found.show()
            list(found.repair())

    Args:
        store: the store.
        address: Ray's job server, `http://HOST:8265`: examine this cluster instead.
        repair: keep the locks of the examined searches inside the block, so that the findings are still true there.

    Raises:
        SearchError: there is no store, or its study is another one.
        ClusterError: the cluster cannot be reached.
    """
    if address:
        from kmcl_platform.search.cluster.health import examine_cluster

        yield Findings(tuple(examine_cluster(address)), repair)
        return
    from kmcl_platform.search.cluster.doctor import examine

    with examine(as_store(store), to_fix=repair) as found:
        yield Findings(tuple(found), repair)


def serve_ui(*, store: AnyStore = None, port: int = 5000, say: Callable[[str], None] = print) -> None:
    """Serve MLflow's UI for a store, on this machine only, until Ctrl-C; `say` prints links into it.

    Raises:
        SearchError: the store does not exist, has a server with its own UI, or the port is taken.
    """
    from kmcl_platform.tracking.ui_server import serve_ui as serve

    serve(as_store(store), port, say)
