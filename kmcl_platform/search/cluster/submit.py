"""Send a search to a Ray cluster as a job."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kmcl_platform.config.search_file import check_trainable
from kmcl_platform.config.search_file_reader import SearchSource, errors_name, open_source
from kmcl_platform.config.store import Store
from kmcl_platform.errors import ClusterError
from kmcl_platform.messages import count_of
from kmcl_platform.search.cluster.job_secrets import read_secrets, refuse_password, write_secrets
from kmcl_platform.search.cluster.jobs import SEARCH, Jobs
from kmcl_platform.search.cluster.lock_check import LOCK, PROJECT

STOP_SECONDS = 120
"""How long a job may take to close its runs when it is stopped; after Ray's default of 3 seconds they would be open."""

CHECK_SECONDS = 300
"""How long the cluster may take to compare its environment with the lock file."""

LOCKED_ENVIRONMENT = {
    # Ray installs it once on each node that runs a part of the job, before our package is imported there.
    "packages": [f"-r ${{RAY_RUNTIME_ENV_CREATE_WORKING_DIR}}/{LOCK}"],
    # Only packages whose hash is in the lock file.
    "uv_pip_install_options": ["--require-hashes"],
}


def submit_search(
    source: SearchSource,
    address: str,
    store: Store,
    *,
    tracking_uri: str | None,
    study_url: str | None = None,
    secret_names: Sequence[str] = (),
    allow_changed_plugins: bool = False,
    extend: bool = False,
    say: Callable[[str], None],
) -> str:
    """Check a search file and send it to a cluster, with the package's code, the locked environment and the secrets.

    Args:
        source: the search file.
        address: Ray's job server, `http://HOST:8265`.
        store: its folder must be on storage that the cluster's nodes see under the same path.
        tracking_uri: MLflow's address as the cluster sees it; None: SQLite in the store.
        study_url: the address of the studies as the cluster sees it; None: the cluster's own KMCL_STUDY_URL, or SQLite
            in the store.
        secret_names: environment variables whose values the driver gets.
        allow_changed_plugins: the code of the search's plug-ins may differ from that with which it began.
        extend: its space may differ from the one with which it began.
        say: prints one line about a step that takes long.

    Returns:
        The job's id.

    Raises:
        ConfigError: the file is invalid, or a secret is not set; nothing was sent.
        ClusterError: the cluster cannot be reached, or needs a token that was not given.
    """
    # Everything that can be refused here is refused before the cluster is asked.
    document = open_source(source)
    file = document.parse()
    with errors_name(document.origin):
        check_trainable(file)
    values = read_secrets(secret_names)
    environment = job_environment(store, tracking_uri, study_url, secret_names)
    # Otherwise, under `uv run`, a hook of Ray would change the job's environment.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    cluster = Jobs(address)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        copy_job_files(folder)
        runtime_env: dict[str, Any] = {"working_dir": str(folder), "env_vars": environment}
        # The check job gets the same package, before the search file and the secrets are in it.
        if not _has_locked_environment(cluster, folder, say):
            runtime_env["uv"] = LOCKED_ENVIRONMENT
        (folder / "search.yaml").write_bytes(document.content)
        for name in file.plugins:
            (folder / f"{name}.py").write_text(document.find(name).code, encoding="utf-8")
        if values:
            write_secrets(folder, values)
            # Ray unpacks equal packages once, and a job removes its secrets after reading them: the next job with the
            # same package would not find them.
            (folder / "nonce").write_text(secrets.token_hex(16))
        command = "python jobs/run_search.py search.yaml" + " --allow-changed-plugins" * allow_changed_plugins
        command += " --extend" * extend
        return cluster.submit(entrypoint=command, runtime_env=runtime_env, metadata={SEARCH: file.name})


def job_environment(
    store: Store, tracking_uri: str | None, study_url: str | None, secret_names: Sequence[str]
) -> dict[str, str]:
    """The environment variables of a job, which everybody sees who sees the job.

    A secret variable is not among them, even if it has one of the addresses: it is sent in the package.

    Raises:
        ConfigError: an address that would be seen has a password.
    """
    environment = {"KMCL_STORE": str(store.root), "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
    addresses = (("--tracking-uri", "KMCL_TRACKING_URI", tracking_uri), ("--study-url", "KMCL_STUDY_URL", study_url))
    for option, name, address in addresses:
        if address and name not in secret_names:
            refuse_password(option, address)
            environment[name] = address
    return environment


def _has_locked_environment(cluster: Jobs, folder: Path, say: Callable[[str], None]) -> bool:
    """Whether the cluster's head has the locked environment, so that nothing must be installed for the job."""
    equal, printed = cluster.run(
        entrypoint="python jobs/check_environment.py", runtime_env={"working_dir": str(folder)}, seconds=CHECK_SECONDS
    )
    if not equal:
        # The job's output may have other lines too.
        different = [line for line in printed.splitlines() if "(locked: " in line]
        what = "the check failed"
        if different:
            what = f"different in {count_of(len(different), 'package')}, first {different[0]}"
        say(f"environment: the cluster's is not the locked one ({what}); Ray installs {LOCK} on its nodes")
    return equal


def copy_job_files(folder: Path) -> None:
    """Copy the files that a job needs: our package, the jobs' scripts, the lock file; nothing else leaves the machine.

    Raises:
        ClusterError: this is not a checkout of the project.
    """
    package = Path(__file__).parents[2]
    for name in ("jobs", LOCK, PROJECT):
        if not (package.parent / name).exists():
            raise ClusterError(f"{package.parent / name}: not found; valid: submit from a checkout of the project")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, folder / "kmcl_platform", ignore=ignore)
    shutil.copytree(package.parent / "jobs", folder / "jobs", ignore=ignore)
    for name in (LOCK, PROJECT):
        shutil.copy(package.parent / name, folder / name)
