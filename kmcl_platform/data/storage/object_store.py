"""Places of files: a path on this machine, or a URI that pyarrow's file systems know, such as `s3://bucket/prefix`.

No message says more of a URI than its place: what could be a credential is left out.
"""

import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import pyarrow as pa
from pyarrow import fs

from kmcl_platform.errors import DataError

_SHOWN = ("region", "scheme", "endpoint_override")
"""Parameters of a URI that tell where it leads and are no secret."""
_CONNECT_SECONDS = 5
_ATTEMPTS = 3
"""Of a request to S3; with pyarrow's own default, a server that does not answer is waited for 100 seconds."""
CHUNK_BYTES = 8 * 2**20
_T = TypeVar("_T")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Location:
    """A file or a folder; `parse_location` makes it."""

    path: Path | None
    """Absolute, on this machine; none: it is elsewhere."""
    uri: str = ""
    """Where it is elsewhere, as given."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name if self.path else _part(urlsplit(self.uri).path.rstrip("/").rpartition("/")[2])

    @property
    def parent(self) -> "Location":
        """The folder that it lies in."""
        if self.path:
            return Location(self.path.parent)
        parts = urlsplit(self.uri)
        return Location(None, urlunsplit(parts._replace(path=parts.path.rstrip("/").rpartition("/")[0])))

    def join(self, name: str) -> "Location":
        """A file of this folder."""
        if self.path:
            return Location(self.path / name)
        parts = urlsplit(self.uri)
        return Location(None, urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}")))

    def __str__(self) -> str:
        if self.path:
            return str(self.path)
        parts = urlsplit(self.uri)
        query = [(key, value) for key, value in parse_qsl(parts.query) if key in _SHOWN]
        return urlunsplit(parts._replace(query=urlencode(query, safe=":/"), fragment=""))

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"


def parse_location(text: str | Path) -> Location:
    """A path (`~` is the home folder) or a URI.

    Raises:
        DataError: the URI cannot be read, or holds a password.
    """
    if isinstance(text, Path) or "://" not in text:
        return Location(Path(text).expanduser().absolute())
    parts = _split(text)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise DataError(f"{text}: got {parts.netloc!r} as host of a file; valid: file:///folder/file")
        return Location(Path(unquote(parts.path)))
    return Location(None, text)


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        secret = parts.password is not None or (parts.scheme == "s3" and parts.username is not None)
    except ValueError as error:
        raise DataError(f"a URI cannot be read ({error}); valid: such as s3://bucket/prefix") from None
    if secret:
        # Search files are kept in records that many may read.
        place = f"{parts.scheme}://{parts.hostname}{parts.path}"
        raise DataError(
            f"{place}: got credentials within a URI; valid: credentials in the environment, such as AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY"
        )
    return parts


def _part(text: str) -> str:
    return unquote(text)


def _open(location: Location) -> tuple[fs.FileSystem, str]:
    """The file system of a location, and the path in it. Made anew each time: none outlives a fork of its process."""
    if location.path:
        return fs.LocalFileSystem(), str(location.path)
    filesystem, path = fs.FileSystem.from_uri(location.uri)
    given = dict(parse_qsl(urlsplit(location.uri).query))
    # Other parameters only pyarrow can read, which then waits as long as it does.
    if isinstance(filesystem, fs.S3FileSystem) and set(given) <= set(_SHOWN):
        filesystem = _open_s3(filesystem.region, **given)
    return filesystem, path


def _open_s3(
    region: str, *, endpoint_override: str | None = None, scheme: str | None = None, **_: str
) -> fs.S3FileSystem:
    """What pyarrow makes of the URI, but for the waiting, which a URI cannot say."""
    named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint_override is None and named:
        scheme_named, _separator, endpoint_override = named.rstrip("/").rpartition("://")
        scheme = scheme or scheme_named or None
    return fs.S3FileSystem(
        region=region,
        scheme=scheme,
        endpoint_override=endpoint_override,
        connect_timeout=_CONNECT_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )


def _ask(location: Location, what: str, action: Callable[[], _T], valid: str) -> _T:
    try:
        return action()
    except FileNotFoundError:
        raise DataError(f"{location}: no such file; valid: {valid}") from None
    except (pa.ArrowException, OSError) as error:
        reason = f"cannot be {what}: {_reason(location, error)}"
        raise DataError(f"{location}: {reason}; valid: a place that can be reached") from None


def _reason(location: Location, error: Exception) -> str:
    reason = one_line(error)
    # pyarrow names the URI as it was given.
    return reason.replace(location.uri, str(location)) if location.uri else reason


def exists(location: Location) -> bool:
    """Whether there is a file.

    Raises:
        DataError: it cannot be asked for.
    """

    def ask() -> bool:
        filesystem, path = _open(location)
        return bool(filesystem.get_file_info(path).type == fs.FileType.File)

    return _ask(location, "read", ask, "a place that can be reached")


def read_file(location: Location, valid: str) -> pa.Buffer:
    """The whole of a file.

    Args:
        valid: what would be, for messages.

    Raises:
        DataError: it does not exist or cannot be read.
    """

    def read() -> pa.Buffer:
        filesystem, path = _open(location)
        with filesystem.open_input_stream(path) as stream:
            return pa.py_buffer(stream.read())

    return _ask(location, "read", read, valid)


def read_chunks(location: Location, valid: str) -> Iterator[bytes]:
    """A file piece by piece.

    Raises:
        DataError: it does not exist or cannot be read.
    """

    def start() -> pa.NativeFile:
        filesystem, path = _open(location)
        return filesystem.open_input_stream(path)

    with _ask(location, "read", start, valid) as stream:
        while chunk := _ask(location, "read", lambda: stream.read(CHUNK_BYTES), valid):
            yield chunk


def put_file(file: Path, location: Location) -> None:
    """Copy a whole file to a location, where a reader sees it whole or not at all; `file` may be used up.

    Raises:
        DataError: it cannot be written, or fewer bytes have arrived.
    """
    valid = "a place that can be written to"
    if location.path:
        target = location.path
        temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            _ask(location, "written", lambda: (shutil.move(file, temporary), temporary.replace(target)), valid)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        return

    def send() -> int:
        filesystem, path = _open(location)
        # Object stores have no folders, others want them first.
        if not isinstance(filesystem, fs.S3FileSystem):
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with file.open("rb") as source, filesystem.open_output_stream(path) as stream:
            while chunk := source.read(CHUNK_BYTES):
                stream.write(chunk)
        return int(filesystem.get_file_info(path).size)

    size, arrived = file.stat().st_size, _ask(location, "written", send, valid)
    if arrived != size:
        raise DataError(f"{location}: got {arrived} bytes of {size} that were written; valid: all of them")


def remove_file(location: Location) -> None:
    """Remove one file, never a folder. A file that cannot be removed stays; a warning in the log says so."""
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
