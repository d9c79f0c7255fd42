"""Compare this Python's environment with the lock file; this runs on a cluster's node.

Only the standard library and `kmcl_platform.errors` are imported: any other package may be missing there.
"""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from kmcl_platform.errors import ClusterError

LOCK = "requirements.lock"
PROJECT = "pyproject.toml"

# A line of the lock file is NAME==VERSION, then perhaps a marker (;) or a backslash before its hashes.
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def compare_environment(folder: Path) -> list[str]:
    """The differences between this environment and the lock file in a folder, one text for each package.

    A package that is not installed is a difference only if the project requires it by name: other packages are for
    developers, or for other machines. A build of the locked version (`2.15.0+cu132`) is that version.
    """
    required = {_normal(name) for name in _required(folder / PROJECT)}
    locked: dict[str, set[str]] = {}
    for name, version in _LOCKED.findall((folder / LOCK).read_text()):
        # A lock file may have several versions of a package, each with a marker for another platform.
        locked.setdefault(_normal(name), set()).add(version)
    differences = []
    for name, versions in sorted(locked.items()):
        wanted = " or ".join(sorted(versions))
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            if name in required:
                differences.append(f"{name} is not installed (locked: {wanted})")
            continue
        if not {installed, installed.partition("+")[0]} & versions:
            differences.append(f"{name} {installed} (locked: {wanted})")
    return differences


def check_environment(folder: Path) -> None:
    """Refuse an environment that differs from the folder's lock file; without a lock file nothing is checked.

    Raises:
        ClusterError: it differs.
    """
    if not (folder / LOCK).is_file() or not (folder / PROJECT).is_file():
        return
    if differences := compare_environment(folder):
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ClusterError(
            f"environment: got {', '.join(differences[:3])}{more}; valid: {LOCK} installed on every node, or "
            "kmcl submit, which has the packages installed"
        )


def _required(project: Path) -> list[str]:
    requirements = tomllib.loads(project.read_text())["project"]["dependencies"]
    return [match.group() for match in map(_NAME.match, requirements) if match]


def _normal(name: str) -> str:
    # As in PEP 503: `-`, `_` and `.` in a package's name are the same, and so are large and small letters.
    return re.sub(r"[-_.]+", "-", name).lower()
