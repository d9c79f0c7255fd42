"""The shipped archives of learning curves fit their search files, and are large enough to decide something."""

from collections import Counter
from pathlib import Path

import pytest

from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.search.replay.archive_curves import read_curves

ARCHIVES = sorted(Path("benchmarks/curves").glob("*.parquet"))


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.stem)
def test_an_archive_has_many_whole_trials_of_its_space(archive: Path) -> None:
    file = read_search_file(archive.with_suffix(".yaml"))
    curves = read_curves([archive], file)
    # Only the plain loss, a baseline, is no point of the space.
    assert [len(one) for one in curves.others.values()] == [1]
    assert curves.skipped == (5 if archive.stem == "digits" else 1), "its seeds"
    assert len(curves.points) >= 80
    whole = [curve for curve in curves.curves if not curve.diverged]
    assert {len(curve.values_E) for curve in whole} == {file.base.num_epochs}
    assert file.base.num_epochs >= 6
    assert archive.stat().st_size < 1_000_000


def test_there_are_archives() -> None:
    assert {path.stem for path in ARCHIVES} >= {"digits", "openclipart", "kanji"}


def test_the_digits_show_the_noise_between_seeds() -> None:
    archive = Path("benchmarks/curves/digits.parquet")
    curves = read_curves([archive], read_search_file(archive.with_suffix(".yaml")))
    seeds = Counter(str(sorted(point.items())) for point in curves.points)
    assert len(seeds) >= 200
    assert list(seeds.values()).count(5) >= 10
    # It is an archive of the shipped space, with which the demo's settings were chosen.
    assert read_curves([archive], read_search_file(Path("search_spaces/digits.yaml"))).points == curves.points
