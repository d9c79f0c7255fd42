"""Data from packages: a registry's own client downloads a package, once for each cache folder."""

import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from kmcl_platform.errors import DataError
from kmcl_platform.messages import shell_command, show_value


def run_client(command: Sequence[str], folder: Path, advice: str) -> None:
    """Run a command in a folder.

    Raises:
        DataError: the command does not exist or fails; one line with the error that it printed.
    """
    name = shell_command(command)
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise DataError(f"{name}: got {show_value(error.strerror)}; valid: {advice}") from error
    if done.returncode:
        printed = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        # apt prints warnings before the error; npm prints a code before it, and after it where the log is.
        errors = (line for line in printed if re.search(r"^E:|\berror\b(?! code)", line, re.IGNORECASE))
        problem = next(errors, printed[-1])
        raise DataError(f"{name}: got {show_value(problem)}; valid: {advice}")


def debian_package(cache: Path, package: str) -> Path:
    """The folder with the unpacked files of a Debian package."""
    unpacked = cache / package
    if unpacked.is_dir():
        return unpacked
    cache.mkdir(parents=True, exist_ok=True)
    if not list(cache.glob(f"{package}_*.deb")):
        advice = "Debian or Ubuntu, with a list of packages from `apt-get update`"
        run_client(["apt-get", "-qq", "download", package], cache, advice)
    deb = sorted(cache.glob(f"{package}_*.deb"))[-1]
    half = _empty(cache / f"{package}.unpacking")
    run_client(["dpkg-deb", "-x", str(deb.resolve()), str(half.resolve())], cache, f"delete {deb}, then try again")
    # A folder of the final name is complete: a download or an unpacking that was stopped is done again.
    half.rename(unpacked)
    return unpacked


def npm_package(cache: Path, package: str, version: str, wanted: Sequence[str]) -> Path:
    """The folder with those files of an npm package whose path begins with one of `wanted`."""
    unpacked = cache / f"{package}-{version}"
    if unpacked.is_dir():
        return unpacked
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / f"{package}-{version}.tgz"
    if not archive.exists():
        run_client(
            ["npm", "pack", f"{package}@{version}", "--loglevel=error"],
            cache,
            "npm, and its registry or a mirror of it",
        )
    half = _empty(cache / f"{unpacked.name}.unpacking")
    try:
        with tarfile.open(archive) as files:
            members = [file for file in files if file.name.startswith(tuple(f"package/{path}" for path in wanted))]
            files.extractall(half, members, filter="data")
        (half / "package").rename(unpacked)
    except (tarfile.TarError, EOFError, FileNotFoundError) as error:
        raise DataError(f"{archive}: got {show_value(str(error))}; valid: delete the file, then try again") from error
    half.rmdir()
    return unpacked


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
