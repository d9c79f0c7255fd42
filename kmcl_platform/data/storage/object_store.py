"""Reading and writing files of a `Location`, on this machine or in an object store.

A message shows only where a URI leads. Everything that could be a credential is left out.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from pyarrow import fs

from kmcl_platform.data.storage.location import PLACE_PARAMETERS, Location
from kmcl_platform.errors import DataError
from kmcl_platform.files.atomic_write import atomic_file

_CONNECT_SECONDS = 5
_ATTEMPTS = 3
"""Attempts of a request to S3. With pyarrow's default, a server that does not answer would cost 100 seconds."""
CHUNK_BYTES = 8 * 2**20
_T = TypeVar("_T")
_logger = logging.getLogger(__name__)


def _open(location: Location) -> tuple[fs.FileSystem, str]:
    """The file system of a location, and the path in it.

    It is opened for each use, because pyarrow's S3 client does not work in a process that was forked after the client
    was made.
    """
    if location.path:
        return fs.LocalFileSystem(), str(location.path)
    filesystem, path = fs.FileSystem.from_uri(location.uri)
    given = dict(parse_qsl(urlsplit(location.uri).query))
    # Only pyarrow can interpret other parameters. Such a file system keeps pyarrow's long waiting times.
    if isinstance(filesystem, fs.S3FileSystem) and set(given) <= set(PLACE_PARAMETERS):
        filesystem = _open_s3(filesystem.region, **given)
    return filesystem, path


def _open_s3(
    region: str, *, endpoint_override: str | None = None, scheme: str | None = None, **_: str
) -> fs.S3FileSystem:
    """The file system that pyarrow makes from a URI, with shorter waiting times, which a URI cannot express."""
    environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint_override is None and environment:
        environment_scheme, _separator, endpoint_override = environment.rstrip("/").rpartition("://")
        scheme = scheme or environment_scheme or None
    return fs.S3FileSystem(
        region=region,
        scheme=scheme,
        endpoint_override=endpoint_override,
        connect_timeout=_CONNECT_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )


def _run(location: Location, done: str, action: Callable[[], _T], valid: str) -> _T:
    """Run an action on a location; its errors become a DataError of one line.

    Args:
        location: what the action reads or writes.
        done: `read` or `written`, for messages.
        action: a function without arguments.
        valid: what would be valid if there is no such file, for messages.
    """
    try:
        return action()
    except FileNotFoundError:
        raise DataError(f"{location}: no such file; valid: {valid}") from None
    except UnicodeEncodeError:
        raise DataError(f"{location}: got a name that is not UTF-8; valid: a path in UTF-8") from None
    except (pa.ArrowException, OSError) as error:
        reason = f"cannot be {done}: {_reason(location, error)}"
        raise DataError(f"{location}: {reason}; valid: a place that can be reached") from None


def _reason(location: Location, error: Exception) -> str:
    reason = one_line(error)
    # pyarrow's messages contain the URI as it was given, with its credentials.
    return reason.replace(location.uri, str(location)) if location.uri else reason


def exists(location: Location) -> bool:
    """Whether there is a file.

    Raises:
        DataError: the location cannot be reached.
    """

    def look() -> bool:
        filesystem, path = _open(location)
        return bool(filesystem.get_file_info(path).type == fs.FileType.File)

    return _run(location, "read", look, "a place that can be reached")


def read_file(location: Location, valid: str) -> pa.Buffer:
    """The whole content of a file.

    Args:
        location: the file.
        valid: what would be valid if there is no such file, for messages.

    Raises:
        DataError: the file does not exist or cannot be read.
    """

    def read() -> pa.Buffer:
        filesystem, path = _open(location)
        with filesystem.open_input_stream(path) as stream:
            return pa.py_buffer(stream.read())

    return _run(location, "read", read, valid)


def read_chunks(location: Location, valid: str) -> Iterator[bytes]:
    """The content of a file, in pieces of `CHUNK_BYTES`; the last one may be shorter.

    Args:
        location: the file.
        valid: what would be valid if there is no such file, for messages.

    Raises:
        DataError: the file does not exist or cannot be read.
    """

    def start() -> pa.NativeFile:
        filesystem, path = _open(location)
        return filesystem.open_input_stream(path)

    # Each piece has its own `_run`: a connection can also break in the middle of a file.
    with _run(location, "read", start, valid) as stream:
        while chunk := _run(location, "read", lambda: stream.read(CHUNK_BYTES), valid):
            yield chunk


@contextmanager
def new_file(location: Location, *, replace: bool = True) -> Iterator[Path]:
    """Write a file of a location: a reader sees the whole file or the one that was there before.

    Args:
        location: the file. A folder on this machine must exist.
        replace: whether a file that exists is replaced. Otherwise it stays, and the block ends with FileExistsError. On
            this machine no other process can interfere. S3 gets a request whether the file exists, and then the file:
            pyarrow has no conditional writing, so another process can come between the two.

    Yields:
        The path on this machine to write to. If the block raises, nothing is left of it.

    Raises:
        DataError: the place elsewhere cannot be written to, or got fewer bytes than were sent.
        FileExistsError: the file exists and is not to be replaced.
        OSError: the file on this machine cannot be written, for example because the disk is full.
    """
    if location.path:
        with atomic_file(location.path, replace=replace) as draft:
            yield draft
        return
    with tempfile.TemporaryDirectory(prefix="kmcl-") as folder:
        file = Path(folder) / location.name
        # The content is written here first, and sent only when the block has ended without an error.
        yield file
        if not replace and exists(location):
            raise FileExistsError(f"{location} exists")
        _send(file, location)


def _send(file: Path, location: Location) -> None:
    def send() -> int:
        filesystem, path = _open(location)
        # S3 has no folders. Other file systems need them.
        if not isinstance(filesystem, fs.S3FileSystem):
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with file.open("rb") as source, filesystem.open_output_stream(path) as stream:
            while chunk := source.read(CHUNK_BYTES):
                stream.write(chunk)
        return int(filesystem.get_file_info(path).size)

    size, arrived = file.stat().st_size, _run(location, "written", send, "a place that can be written to")
    if arrived != size:
        raise DataError(f"{location}: got {arrived} bytes of {size} that were sent; valid: the same command again")


def remove_file(location: Location) -> None:
    """Remove one file, never a folder. If it cannot be removed, a warning is logged."""
    try:
        filesystem, path = _open(location)
        filesystem.delete_file(path)
    except FileNotFoundError:
        pass
    except (pa.ArrowException, OSError) as error:
        _logger.warning("%s: cannot be removed: %s", location, _reason(location, error))


def one_line(error: Exception) -> str:
    """An error's text without line breaks."""
    return " ".join(str(error).split()).rstrip(".")
