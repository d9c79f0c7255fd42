"""A search in one process and on Ray: the same numbers, and each goes on where the other one stopped."""

from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from tests.search.run.test_inline import SEARCH
from tests.support.command_line import kmcl_process

pytestmark = [pytest.mark.long, pytest.mark.takes(120)]


def test_both_ways_of_running_give_the_same_numbers_and_continue_each_other(
    tmp_path: Path, small_manifest: Path, prepared_store: Path
) -> None:
    def run(store: Path, trials: int, *options: str) -> None:
        file = tmp_path / "alone.yaml"
        text = SEARCH.format(source=small_manifest).replace("trials: 2", f"trials: {trials}")
        file.write_text(text)
        done = kmcl_process("search", file, *options, store=store)
        assert done.exit_code == 0, done.output

    def values_of(store: Path) -> dict[int, float | None]:
        return {row.number: row.objective for row in read_leaderboard(open_store(store), "alone").rows}

    run(prepared_store, 1, "--inline")
    run(prepared_store, 3)
    run(prepared_store, 4, "--inline")
    alone = tmp_path / "alone"
    run(alone, 4, "--inline")
    assert len(values_of(alone)) == 4
    assert values_of(prepared_store) == values_of(alone)
