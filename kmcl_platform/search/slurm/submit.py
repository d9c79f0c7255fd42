"""Send a search to SLURM: a job script, a copy of the search file beside it, and `sbatch`."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kmcl_platform.config.search_file import check_trainable
from kmcl_platform.config.search_file_reader import SearchSource, errors_name, open_source
from kmcl_platform.config.store import Store, check_room
from kmcl_platform.errors import ClusterError, ConfigError
from kmcl_platform.files.atomic_write import write_atomically
from kmcl_platform.messages import bound_line, shell_command, show_value

STOP_SECONDS = 180
"""Seconds before the end of a job's time at which its search stops, so that its trials keep what they have trained."""

FOLDER = "slurm"
"""Folder of the store with the jobs' scripts and their output."""

SCRIPT = Path(__file__).parents[3] / "jobs" / "run_on_slurm.py"
"""Runs the search in the job. All nodes must see it, and this environment, under the same path."""

_OPTION = re.compile(r"(?:--([a-z][a-z-]*)(?:[= ]\S.*)?)|(?:-([A-Za-z])(?:[= ]?\S.*)?)", re.DOTALL)

_OWN = {
    "array": "one search is one job",
    "chdir": "a job runs in the folder in which it is submitted",
    "job-name": "it is kmcl-NAME",
    "no-requeue": "the job continues in a new one",
    "ntasks": "it follows from --nodes",
    "ntasks-per-node": "it is 1: Ray starts the workers of a node",
    "open-mode": "it is append",
    "output": "it is in the store",
    "error": "it is in the store",
    "requeue": "it is set already",
    "signal": "--stop-seconds sets it",
    "wrap": "the script is ours",
}
"""Options of sbatch that the script sets, or that it cannot work with, and why."""

_SHORT = {"a": "array", "D": "chdir", "e": "error", "J": "job-name", "n": "ntasks", "o": "output"}


@dataclass(frozen=True)
class SlurmJob:
    """A search that was sent to SLURM.

    Attributes:
        job_id: SLURM's number of the job. It stays the same when the job continues after its time has ended.
        script: the job's script, beside a copy of the search file.
        output: the file with the output of the job.
    """

    job_id: str
    script: Path
    output: Path


def submit_to_slurm(
    source: SearchSource,
    store: Store,
    *,
    options: Sequence[str] = (),
    stop_seconds: int = STOP_SECONDS,
    allow_changed_plugins: bool = False,
    extend: bool = False,
) -> SlurmJob:
    """Check a search file, write a job script for it, and submit it.

    The job starts Ray on all of its nodes, and runs or continues the search there. Before its time ends, the search is
    stopped in an orderly way, and the job is queued again.

    Args:
        source: the search file.
        store: its folder must be on storage that all nodes see under the same path.
        options: of sbatch, such as `--nodes=2`.
        stop_seconds: before the end of the job's time the search is stopped.
        allow_changed_plugins: the code of the search's plug-ins may differ from that with which it began.
        extend: its space may differ from the one with which it began.

    Raises:
        ConfigError: the file or an option is invalid; nothing was written.
        ClusterError: SLURM is not on this machine, or refuses the job.
    """
    document = open_source(source)
    file = document.parse()
    with errors_name(document.origin):
        check_trainable(file)
    check_options(options)
    if not SCRIPT.exists():
        raise ClusterError(f"{SCRIPT}: not found; valid: submit from a checkout of the project")
    if shutil.which("sbatch") is None:
        raise ClusterError("slurm: got no command sbatch on this machine; valid: a login node of a SLURM cluster")
    check_room(store.root)
    place = store.root.absolute() / FOLDER / file.name
    folder = place / datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S.%f")
    place.mkdir(parents=True, exist_ok=True)
    # For this user alone: the script may have the address of a database with a password.
    folder.mkdir(mode=0o700)
    search = folder / "search.yaml"
    write_atomically(search, document.content)
    for name in file.plugins:
        write_atomically(folder / f"{name}.py", document.find(name).code.encode())
    words = ["kmcl", "search", search, "--store", store.root.absolute()]
    # Not as options: everybody on a node can read the command line of a process.
    variables = {} if store.is_local else {"KMCL_TRACKING_URI": store.tracking_uri}
    variables |= {} if store.has_own_study else {"KMCL_STUDY_URL": store.study_url}
    words += ["--allow-changed-plugins"] * allow_changed_plugins + ["--extend"] * extend
    script = folder / "job.sh"
    output = folder / "output.log"
    write_atomically(script, job_script(file.name, words[1:], variables, options, output, stop_seconds).encode())
    script.chmod(0o700)
    answer = subprocess.run(["sbatch", "--parsable", str(script)], capture_output=True, text=True, check=False)
    if answer.returncode:
        shutil.rmtree(folder)
        said = bound_line(" ".join(answer.stderr.split()))
        given = shell_command(options) or "no options"
        raise ClusterError(f"sbatch: got {given}: {said}; valid: options that your cluster allows")
    return SlurmJob(answer.stdout.strip().split(";")[0], script, output)


def job_script(
    name: str,
    words: Sequence[object],
    variables: Mapping[str, str],
    options: Sequence[str],
    output: Path,
    stop_seconds: int,
) -> str:
    """The text of a job's script.

    Args:
        name: of the search.
        words: of the command `kmcl` that runs it.
        variables: of the command's environment.
        options: of sbatch.
        output: the file for the job's output.
        stop_seconds: as for `submit_to_slurm`.
    """
    own = (
        f"--job-name=kmcl-{name}",
        "--ntasks-per-node=1",
        "--requeue",
        "--open-mode=append",
        # To the script alone: SLURM's own SIGTERM at the end of the time would reach Ray's processes too.
        f"--signal=B:USR1@{stop_seconds}",
        f"--output={_quoted(str(output))}",
    )
    lines = "\n".join(f"#SBATCH {option}" for option in (*own, *options))
    command = shell_command([sys.executable, SCRIPT, *words])
    exports = "".join(f"export {variable}={shell_command([value])}\n" for variable, value in variables.items())
    return f"#!/bin/bash\n{lines}\n\n{exports}# It takes the shell's place, and gets SLURM's signals.\nexec {command}\n"


def check_options(options: Sequence[str]) -> None:
    """Refuse options of sbatch that would break the script.

    Raises:
        ConfigError: one is no option, has a line break, or is set by the script.
    """
    for option in options:
        match = _OPTION.fullmatch(option)
        if match is None or "\n" in option or "\r" in option:
            raise ConfigError(
                f"--sbatch: got {show_value(option)}; valid: one option of sbatch, such as --sbatch=--nodes=2"
            )
        name = match[1] or _SHORT.get(match[2] or "", "")
        if why := _OWN.get(name):
            raise ConfigError(f"--sbatch: got {show_value(option)}; valid: another option, because {why}")


def _quoted(path: str) -> str:
    # SLURM replaces %j and the like.
    text = path.replace("%", "%%")
    return f'"{text}"' if re.search(r"\s", text) else text
