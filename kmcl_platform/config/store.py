"""Store: the places of a search's study, its MLflow record and its files."""

import errno
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from kmcl_platform.errors import ConfigError, StoreError
from kmcl_platform.messages import show_path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""The system's errors for a full disk, and for a user whose share of the disk is used up."""

PROBE_BYTES = 2**20


@dataclass(frozen=True)
class Store:
    """The places that a search writes to.

    Attributes:
        root: the folder of all files.
        tracking_uri: the address of MLflow's tracking and registry; by default SQLite in the folder.
        study_url: the address of Optuna's storage (an SQLAlchemy URL); by default SQLite in the folder.
    """

    root: Path
    tracking_uri: str
    study_url: str

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints: a folder for each search, and in it a folder for each trial."""
        return self.root / "checkpoints"

    @property
    def artifacts(self) -> Path:
        """The folder of MLflow's artifacts, if MLflow's database is in the store."""
        return self.root / "artifacts"

    @property
    def data(self) -> Path:
        """The folder of the built-in datasets' manifests."""
        return self.root / "data"

    @property
    def features(self) -> Path:
        """The folder of the features of frozen backbones, which all searches of the store share."""
        return self.root / "features"

    @property
    def is_local(self) -> bool:
        """Whether MLflow's store is the SQLite file in the folder, and not a server."""
        return self.tracking_uri == sqlite_url(self.root / "mlflow.db")

    @property
    def has_own_study(self) -> bool:
        """Whether the Optuna study is the SQLite file in the folder, and not another database."""
        return self.study_url == sqlite_url(self.root / "optuna.db")

    def forecast(self, search: str) -> Path:
        """The file of a search's forecast, which `kmcl plan` writes."""
        return self.root / "plans" / f"{search}.json"

    def trial_checkpoints(self, search: str, number: int) -> Path:
        """The folder of one trial's checkpoints."""
        return self.checkpoints / search / f"trial-{number:04d}"


def open_store(root: Path, tracking_uri: str | None = None, study_url: str | None = None) -> Store:
    """The places of a store; nothing is created.

    Args:
        root: the store's folder.
        tracking_uri: MLflow's address; None: SQLite in the folder.
        study_url: the address of the Optuna study; None: SQLite in the folder.

    Raises:
        ConfigError: the folder's name is not UTF-8. Addresses of SQLite and MLflow cannot contain it.
    """
    root = root.absolute()
    # `show_path` changes only names that are not UTF-8.
    if show_path(root) != str(root):
        raise ConfigError(f"store: got {show_path(root)}; valid: a folder whose whole path is UTF-8")
    return Store(
        root=root,
        tracking_uri=tracking_uri or sqlite_url(root / "mlflow.db"),
        study_url=study_url or sqlite_url(root / "optuna.db"),
    )


def no_room(place: Path) -> StoreError:
    """The error for a full disk."""
    return StoreError(f"no space left in {show_path(place)}; valid: make room, then the same command goes on")


@contextmanager
def full_disk_is_store_error(folder: Path) -> Iterator[None]:
    """Turn the system's error for a full disk into the store's, which stops the search and not the trial.

    Raises:
        StoreError: the disk of the folder is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(folder) from error
        raise


def check_room(root: Path) -> None:
    """Make a folder if it does not exist, and try to write a mebibyte into it. The mebibyte is removed again.

    Raises:
        StoreError: the disk is full, or the folder cannot be written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root) as probe:
            # Not an empty file: on a full disk it can often still be made.
            probe.write(bytes(PROBE_BYTES))
            # Python would keep the bytes in memory until the file is closed.
            probe.flush()
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(root) from None
        raise StoreError(
            f"{show_path(root)}: cannot be written to: {error.strerror}; valid: a folder to write to"
        ) from None


def sqlite_url(path: Path) -> str:
    """The address of an SQLite file, as SQLAlchemy, MLflow and Optuna read it.

    >>> sqlite_url(Path("/data/my store/mlflow.db"))
    'sqlite:////data/my store/mlflow.db'
    >>> sqlite_url(Path("/data/50%/mlflow.db"))
    'sqlite+pysqlite:////data/50%25/mlflow.db'
    """
    # SQLAlchemy takes what follows "?" for options and decodes "%XX"; Optuna replaces text in braces.
    quoted = re.sub(r"[%?#{}]", lambda match: quote(match.group()), str(path))
    # If the address began with `sqlite:///`, MLflow would make the folders of the quoted path.
    return f"sqlite:///{path}" if quoted == str(path) else f"sqlite+pysqlite:///{quoted}"


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite address, absolute; None: an address of another database, or one in memory.

    >>> sqlite_file(sqlite_url(Path("/data/50%/mlflow.db")))
    PosixPath('/data/50%/mlflow.db')
    """
    scheme, _, rest = url.partition(":///")
    # SQLite has its own form of address too: `sqlite:///file:/PATH?uri=true`.
    path = unquote(rest.partition("?")[0]).removeprefix("file:")
    if scheme.partition("+")[0] != "sqlite" or path in ("", ":memory:"):
        return None
    return Path(path).absolute()
