"""The search files that make the shipped archives have the space of the shipped search files."""

from pathlib import Path

from kmcl_platform.config.search_file_reader import read_search_file

ROOT = Path(__file__).parents[2]


def test_the_digits_are_archived_with_their_own_space() -> None:
    shipped = read_search_file(ROOT / "search_spaces" / "digits.yaml")
    curves = read_search_file(ROOT / "benchmarks" / "curves" / "digits.yaml")
    assert curves.space == shipped.space
    assert curves.base == shipped.base
    assert curves.scheduler.kind == "none"
