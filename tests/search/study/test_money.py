"""What a search costs: the price of its places for trials, while it runs."""

from pathlib import Path

import pytest

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.errors import ConfigError
from kmcl_platform.search.study.budget import Ledger
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.report.step_time import describe_cost
from tests.search.study.small_study import FILE, search_file


def priced(budget: str = "", price: float = 6) -> SearchFile:
    text = FILE.replace("budget: {trials: 6}", f"budget: {{trials: 6{budget}}}")
    return search_file(f"{text}resources: {{price_per_hour: {price}}}\n")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


def test_all_places_cost_and_idle_ones_are_counted_apart(url: str) -> None:
    clock = Clock()
    study = DurableStudy(url, priced(", money: 9"), clock=clock)
    study.ledger.start(places=2)
    clock.now = 1800.0
    assert study.ledger.money == pytest.approx(6)
    for _ in range(3):
        study.ledger.add_epoch(600.0)
    # Half an hour of training in two places: one of two half-hours was idle.
    assert study.ledger.idle_money == pytest.approx(3)
    assert study.end_of_budget() is None
    study.ledger.stop()
    clock.now += 7200.0  # Between two starts nothing costs.
    again = DurableStudy(url, priced(", money: 9"), clock=clock)
    assert again.ledger.metrics() == pytest.approx({"hours": 0.5, "gpu_hours": 0, "money": 6, "idle_money": 3})
    again.ledger.start(places=1)
    clock.now += 1800.0
    assert again.end_of_budget() == "budget.money: 9 of 9 spent"
    assert again.next_point() is None
    # A higher bound, and another price, do not make another search.
    assert DurableStudy(url, priced(", money: 20", price=7)).end_of_budget() is None


def test_without_a_price_nothing_is_said(url: str) -> None:
    ledger = DurableStudy(url, search_file()).ledger
    assert (ledger.money, ledger.idle_money) == (None, None)
    assert set(ledger.metrics()) == {"hours", "gpu_hours"}
    assert describe_cost({"place_seconds": 60.0}, None) == describe_cost({}, 3.0) == []


def test_places_that_come_later_cost_from_then_on(url: str) -> None:
    moment = [0.0]
    ledger = Ledger(DurableStudy(url, priced())._study, priced(), lambda: moment[0])
    price = priced().resources.price_per_hour
    assert price is not None
    ledger.start(2)
    moment[0] = 3600.0
    ledger.resize(5)
    moment[0] = 7200.0
    assert ledger.money == pytest.approx(price * (2 + 5))


def test_a_search_of_an_older_version_begins_with_no_cost(url: str) -> None:
    study = DurableStudy(url, priced())
    study._study.set_user_attr("spent", {"seconds": 60.0, "gpu_seconds": 0.0})
    ledger = Ledger(study._study, priced())
    assert (ledger.hours, ledger.money) == (pytest.approx(1 / 60), 0)


def test_the_report_says_what_idle_places_cost() -> None:
    (line,) = describe_cost({"place_seconds": 7200.0, "training_seconds": 5400.0}, 6.0)
    assert line == (
        "The search cost 12, of which 3 (25 %) while no trial trained: starts, the time between trials, and epochs that "
        "were lost."
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("budget: {trials: 6, money: 3}", "budget.money: got 3; valid: no value, or also resources.price_per_hour"),
        ("resources: {price_per_hour: -1}\nbudget: {trials: 6}", "resources.price_per_hour: got -1; valid: "),
        ("resources: {price_per_hour: 1}\nbudget: {trials: 6, money: 0}", "budget.money: got 0; valid: "),
    ],
)
def test_a_bound_without_a_price_and_a_price_below_zero_are_refused(parts: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_search_file(FILE.replace("budget: {trials: 6}", parts).encode(), "s.yaml")
    assert str(caught.value).startswith(f"s.yaml: {message}")
