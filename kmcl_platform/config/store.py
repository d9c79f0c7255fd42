"""Store: where a search's three views live."""

import errno
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kmcl_platform.errors import StoreError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a disk, or of a user's share of it, that is full."""

PROBE_BYTES = 2**20


@dataclass(frozen=True)
class Store:
    """The places that a search writes to.

    Attributes:
        root: folder of everything that is kept as files.
        tracking_uri: MLflow's tracking and registry; SQLite in the folder unless another is given.
        study_url: Optuna's storage (an SQLAlchemy URL); SQLite in the folder unless another is given.
    """

    root: Path
    tracking_uri: str
    study_url: str

    @property
    def checkpoints(self) -> Path:
        """Checkpoints, in one folder a search and one folder a trial below it."""
        return self.root / "checkpoints"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts, where the tracking store is the folder's own."""
        return self.root / "artifacts"

    @property
    def data(self) -> Path:
        """Manifests of embedded datasets."""
        return self.root / "data"

    @property
    def is_local(self) -> bool:
        """Whether MLflow's store is the SQLite file in the folder, rather than a server elsewhere."""
        return self.tracking_uri == _sqlite_url(self.root / "mlflow.db")

    @property
    def has_own_study(self) -> bool:
        """Whether the Optuna study is the SQLite file in the folder, rather than a database elsewhere."""
        return self.study_url == _sqlite_url(self.root / "optuna.db")

    def forecast(self, search: str) -> Path:
        """The file of what `kmcl plan` says that a search will take."""
        return self.root / "plans" / f"{search}.json"

    def trial_checkpoints(self, search: str, number: int) -> Path:
        """The folder of one trial's checkpoints."""
        return self.checkpoints / search / f"trial-{number:04d}"


def open_store(root: Path, tracking_uri: str | None = None, study_url: str | None = None) -> Store:
    """Name the places of a store; nothing is created."""
    root = root.absolute()
    return Store(
        root=root,
        tracking_uri=tracking_uri or _sqlite_url(root / "mlflow.db"),
        study_url=study_url or _sqlite_url(root / "optuna.db"),
    )


def no_room(place: Path) -> StoreError:
    """What the user is told when a disk is full."""
    return StoreError(f"no space left in {place}; valid: make room, then the same command goes on")


def check_room(root: Path) -> None:
    """Make a folder if it is not there, write a little into it, and take that away again.

    Raises:
        StoreError: there is no room for it, or it must not be written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root) as probe:
            probe.write(bytes(PROBE_BYTES))
            probe.flush()
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(root) from None
        raise StoreError(f"{root}: cannot be written to: {error.strerror}; valid: a folder to write to") from None


def _sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"
