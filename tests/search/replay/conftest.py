"""A synthetic archive, as searches of two seeds see it."""

import pyarrow as pa
import pytest

from kmcl_platform.search.replay.archive_curves import ArchiveCurves, select_curves
from kmcl_platform.search.replay.surrogate import Surrogate
from kmcl_platform.tracking.archive.archive_file import read_archive
from tests.search.replay.synthetic import FILE, OTHER_SEED, write_synthetic


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    path = write_synthetic(tmp_path_factory.mktemp("archive"), FILE, seeds=5, diverges_above=0.05)
    return read_archive(path)


@pytest.fixture(scope="module")
def archive(table: pa.Table) -> ArchiveCurves:
    return select_curves(table, FILE, "the archive")


@pytest.fixture(scope="module")
def surrogate(archive: ArchiveCurves) -> Surrogate:
    return Surrogate(archive, FILE)


@pytest.fixture(scope="module")
def all_seeds(table: pa.Table) -> ArchiveCurves:
    return select_curves(table, OTHER_SEED, "the archive")


@pytest.fixture(scope="module")
def noisy(all_seeds: ArchiveCurves) -> Surrogate:
    return Surrogate(all_seeds, OTHER_SEED)
