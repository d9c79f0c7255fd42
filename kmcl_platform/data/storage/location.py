"""Where a file is: a path on this machine, or a URI that pyarrow's file systems know, such as `s3://bucket/prefix`."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path, show_value

PLACE_PARAMETERS = ("region", "scheme", "endpoint_override")
"""Parameters of a URI that say where it leads. They are not secret."""


@dataclass(frozen=True)
class Location:
    """A file or a folder, on this machine or elsewhere. `parse_location` makes it.

    Printing it shows no credentials.
    """

    path: Path | None
    """The absolute path on this machine. None: it is elsewhere."""
    uri: str = ""
    """The URI as the user gave it. Empty: it is on this machine."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name if self.path else unquote(urlsplit(self.uri).path.rstrip("/").rpartition("/")[2])

    @property
    def parent(self) -> "Location":
        """The folder that contains it."""
        if self.path:
            return Location(self.path.parent)
        parts = urlsplit(self.uri)
        return Location(None, urlunsplit(parts._replace(path=parts.path.rstrip("/").rpartition("/")[0])))

    def join(self, name: str) -> "Location":
        """A file in this folder."""
        if self.path:
            return Location(self.path / name)
        parts = urlsplit(self.uri)
        return Location(None, urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}")))

    def __str__(self) -> str:
        if self.path:
            return show_path(self.path)
        parts = urlsplit(self.uri)
        # Only parameters that are known to be harmless are shown: others may be keys or tokens.
        query = [(key, value) for key, value in parse_qsl(parts.query) if key in PLACE_PARAMETERS]
        return urlunsplit(parts._replace(query=urlencode(query, safe=":/"), fragment=""))

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"


def parse_location(text: str | Path) -> Location:
    """The location that a path (`~` is the home folder) or a URI names.

    Raises:
        DataError: the URI is not valid, or contains credentials.
    """
    if isinstance(text, Path) or "://" not in text:
        return Location(Path(text).expanduser().absolute())
    parts = _split(text)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise DataError(f"{text}: got {show_value(parts.netloc)} as host of a file; valid: file:///folder/file")
        return Location(Path(unquote(parts.path)))
    return Location(None, text)


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        # For S3 the user name is the access key. For other schemes, such as hdfs, it is not secret.
        has_secret = parts.password is not None or (parts.scheme == "s3" and parts.username is not None)
    except ValueError as error:
        raise DataError(f"a URI cannot be read ({error}); valid: such as s3://bucket/prefix") from None
    if has_secret:
        # URIs are written in search files, which are copied into records that many people can read.
        place = f"{parts.scheme}://{parts.hostname}{parts.path}"
        raise DataError(
            f"{place}: got credentials within a URI; valid: credentials in the environment, such as AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY"
        )
    return parts
