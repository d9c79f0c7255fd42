"""The trade-offs of several objectives as the end of a search and `kmcl leaderboard` list them."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from kmcl_platform.tracking.comparison.leaderboard_text import front_lines, to_table
from kmcl_platform.tracking.runs.leaderboard import Leaderboard, LeaderboardRow

ROW = LeaderboardRow(
    rank=1, number=0, outcome="completed", reason="", baseline=False, baseline_name="", kernel_terms=True, epochs=1,
    objective=0.5, values={}, run_id="", wall_seconds=1.0,
)  # fmt: skip


def lines_of(points: list[tuple[float, float]], mode: str = "minimize") -> list[str]:
    """Of trials with these values of the main objective, the best first, and of the other one."""
    rows = [
        replace(ROW, rank=place + 1, number=place, objective=value, aims={"latency_ms": other})
        for place, (value, other) in enumerate(points)
    ]
    objectives = {"val/mAP": "maximize", "latency_ms": mode}
    return front_lines(
        Leaderboard("s", "val/mAP", "maximize", 1, [], rows, "", "", aims=["latency_ms"], objectives=objectives)
    )


@pytest.mark.parametrize(
    ("least", "bound"), [(4.0, "4.4"), (10.0, "11"), (9.97, "11"), (0.0123, "0.014"), (1234.5, "1400")]
)
def test_the_example_is_a_bound_that_the_last_trade_off_keeps(least: float, bound: str) -> None:
    *trials, example = lines_of([(0.9, 10 * least), (0.8, least)])
    assert [line.split(":")[0].strip() for line in trials[1:]] == ["trial 0", "trial 1"]
    assert example.endswith(f"kmcl promote s --prefer 'latency_ms<{bound}'")
    assert least < float(bound)


def test_without_a_choice_there_is_no_example() -> None:
    assert len(lines_of([(0.9, 4.0), (0.8, 5.0)])) == 2
    assert not any("--prefer" in line for line in lines_of([(0.9, 4.0), (0.8, 5.0)], mode="maximize"))


def test_the_example_leaves_out_the_trial_that_is_taken_without_it() -> None:
    *_, example = lines_of([(0.9, 0.5704), (0.85, 0.5429), (0.8, 0.5398)])
    assert example.endswith("'latency_ms<0.56'")
    *_, example = lines_of([(0.9, 0.53981), (0.8, 0.5398)])
    assert example.endswith("'latency_ms<0.539805'")


def test_a_long_value_is_folded_in_a_narrow_terminal() -> None:
    row = replace(ROW, values={"model.backbone": "efficientnet_b0_of_some_length"})
    board = Leaderboard("s", "val/mAP", "maximize", 1, ["model.backbone"], [row], "", "")
    output = io.StringIO()
    Console(file=output, width=60).print(to_table(board, narrow=True))
    assert "…" not in output.getvalue()
    assert "length" in "".join(output.getvalue().split())
