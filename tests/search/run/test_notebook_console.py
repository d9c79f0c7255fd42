"""A search in a notebook has one output, which does not grow."""

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.search.run.notebook_console import NotebookConsole
from kmcl_platform.search.run.progress_table import SearchView

FILE = b"""
name: long
base: {num_epochs: 4}
space: {loss.temperature: {kind: loguniform, low: 0.05, high: 1}}
baselines: []
budget: {trials: 500}
"""


def test_the_output_does_not_grow_with_the_search() -> None:
    shown: list[str] = []
    with SearchView(parse_search_file(FILE, "long.yaml"), NotebookConsole(shown.append), {}, None) as view:
        for number in range(60):
            view.trial_started(number, 0)
            view.epoch_finished(number, EpochReport(epoch=2, metrics={}, seconds=1.0), 0.5)
            assert f"trial {number}" in shown[-1] and "2/4" in shown[-1], "the live table"
            view.trial_ended(number, "pruned", "", 0.5, 0.75)
    assert "trial  59 stopped after 2 of 4 epochs" in shown[-1] and "trial  40 " not in shown[-1]
    assert max(map(len, shown)) < 3 * len(shown[0]) + 6000
    assert "2/4" not in shown[-1], "the table goes away, and the lines stay"


def test_the_cost_is_beside_the_time() -> None:
    shown: list[str] = []
    for budget, cost in (("trials: 500", ", cost 12.3]"), ("trials: 500, money: 40", ", cost 12.3 of 40]")):
        content = FILE.replace(b"trials: 500", budget.encode()) + b"resources: {price_per_hour: 2}\n"
        file = parse_search_file(content, "long.yaml")
        with SearchView(file, NotebookConsole(shown.append), {}, None, money=lambda: 12.345) as view:
            view.trial_started(0, 0)
            view.trial_ended(0, "pruned", "", 0.5, 0.75)
        assert cost in shown[-1]


def test_text_is_shown_as_it_is() -> None:
    shown: list[str] = []
    NotebookConsole(shown.append).print("a < b [bold] & c", markup=False)
    assert "a &lt; b [bold] &amp; c" in shown[-1]
