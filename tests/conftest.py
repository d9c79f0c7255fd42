"""Fixtures of all tests, and the order of test files."""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.support.session import restore_environment

if TYPE_CHECKING:
    from tests.support.finished_search import FinishedSearch
    from tests.support.mlflow_server import MlflowServer

# Before torch is imported: two spinning threads on a busy machine of two cores are many times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The temporary folders of the tests are in memory where there is room: each write to a database waits for the disk, and
# the tests make tens of thousands of them. A machine's failure, from which those waits protect, cannot be tested here.
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 8 * 2**30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

STORY_SECONDS = 20.0

SMALL_SEARCH = """
name: small
base:
  data: {{source: {source}, image_size: 32, batch_size: 32}}
  model: {{backbone: test_byobnet}}
  optim: {{optimizer: adamw, lr: 5e-3, ema_decay: 0.9}}
  num_epochs: {epochs}
space:
  model.kernels_per_class: {{kind: int, low: 1, high: 3}}
  loss.temperature: {{kind: loguniform, low: 0.05, high: 1}}
baselines: []
budget: {{trials: {trials}}}
scheduler: {{kind: successive_halving, min_epochs: 1, reduction_factor: 2, allow_early_rungs: true}}
resources: {{workers_per_trial: {workers}, cpus_per_worker: 1}}
sampler: {{kind: tpe, seed: 3}}
"""


INTEGRATION = "tests/integration/"
"""The folder whose tests start Ray, or wait for a search that another of its files makes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first: then no process of pytest-xdist works alone at the end.

    A file's length is the number of seconds in its marker `takes`. Without one it is `STORY_SECONDS` for a file with
    tests marked `story`, `pages` or `long`, and 0 for all others. Files of the same length keep their order. All files
    of `INTEGRATION` come before the others, because one process runs them.
    """
    seconds: dict[Path, float] = defaultdict(float)
    for item in items:
        if marker := item.get_closest_marker("takes"):
            seconds[item.path] = max(seconds[item.path], marker.args[0])
        elif any(map(item.get_closest_marker, ("story", "pages", "long"))):
            seconds[item.path] = max(seconds[item.path], STORY_SECONDS)
    items.sort(key=lambda item: (not item.nodeid.startswith(INTEGRATION), -seconds[item.path]))


class OneRayAtATime(LoadFileScheduling):
    """pytest-xdist's distribution by file, except that one process runs all files of `INTEGRATION`.

    A Ray with its workers keeps two cores busy. Two of them at the same time take more than twice as long as one after
    the other.
    """

    def _split_scope(self, nodeid: str) -> str:
        return INTEGRATION if nodeid.startswith(INTEGRATION) else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneRayAtATime:
    """The scheduler of `-n`."""
    return OneRayAtATime(config, log)


@pytest.fixture(scope="session")
def small_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few hundred real digit mosaics, as a manifest file."""
    from kmcl_platform.data.builtin.digits import build_digits
    from kmcl_platform.data.manifest.parquet import write_manifest
    from tests.support.session import make_once

    def make(folder: Path) -> None:
        write_manifest(build_digits(num_train=192, num_val=97, num_test=64), folder / "few_digits.parquet")

    return make_once(tmp_path_factory, "few_digits", make) / "few_digits.parquet"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test sees no setting of the person who runs it, and leaves no variable behind, as a start of Ray does."""
    for name in ("KMCL_STORE", "KMCL_TRACKING_URI", "KMCL_STUDY_URL", "KMCL_CLUSTER_NODES"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    yield
    restore_environment(before)


def write_small_search(folder: Path, manifest: Path, *, epochs: int = 3, trials: int = 3, workers: int = 2) -> Path:
    """A search that takes seconds to train."""
    path = folder / "small.yaml"
    path.write_text(SMALL_SEARCH.format(source=manifest, epochs=epochs, trials=trials, workers=workers))
    return path


@pytest.fixture(scope="session")
def small_search():  # type: ignore[no-untyped-def]
    """The function that writes a small search file."""
    return write_small_search


@pytest.fixture(scope="session")
def finished(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> "FinishedSearch":
    """A finished search, made once for the session. Its store must not be changed; see `finished_copy`."""
    from tests.support.finished_search import NUM_EPOCHS, NUM_TRIALS, make_finished_search, read_finished_search
    from tests.support.session import make_once

    def make(folder: Path) -> None:
        file = write_small_search(folder, small_manifest, epochs=NUM_EPOCHS, trials=NUM_TRIALS)
        file.write_bytes(file.read_bytes() + b"# byte for byte\r\n")
        make_finished_search(folder, file)

    return read_finished_search(make_once(tmp_path_factory, "finished_search", make))


@pytest.fixture
def finished_copy(finished: "FinishedSearch", tmp_path: Path) -> Path:
    """A copy of the finished search's store, which the test may change."""
    from tests.support.store_copy import copy_store

    copy_store(finished.store, tmp_path / "finished_copy")
    return tmp_path / "finished_copy"


@pytest.fixture(scope="session")
def initialised_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without experiments, to be copied: MLflow takes seconds to make its tables."""
    from tests.support.fresh_start import read_fresh_start

    return read_fresh_start(tmp_path_factory).root / "mlflow.db"


@pytest.fixture
def prepared_store(initialised_database: Path, tmp_path: Path) -> Path:
    """The folder of a store without searches, whose MLflow database has its tables already."""
    root = tmp_path / "store"
    root.mkdir()
    shutil.copy(initialised_database, root / "mlflow.db")
    return root


@pytest.fixture(scope="session")
def new_mlflow_server(
    initialised_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Callable[..., MlflowServer]]":
    """Starts an MLflow server of the test's own, which the test may kill. See `mlflow_server` for one to share."""
    from tests.support.mlflow_server import MlflowServer

    servers: list[MlflowServer] = []

    def start(*, workers: int = 1) -> MlflowServer:
        servers.append(MlflowServer(tmp_path_factory.mktemp("server"), initialised_database, workers=workers))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def mlflow_server(new_mlflow_server: "Callable[..., MlflowServer]") -> "MlflowServer":
    """An MLflow server that the session's tests share; each uses names of its own for its searches."""
    return new_mlflow_server()
