"""A search that begins with the best points of earlier searches."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kmcl_platform.config.reports.trial_marks import WARM_START
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import ConfigError, DataError, KmclError, SearchError
from kmcl_platform.search.sampling.first_points import FormerTrial, choose_first_points, take_in_turn
from kmcl_platform.search.study.storage import load_study
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.search.warm_start import read_warm_start
from kmcl_platform.tracking.archive.archive_file import write_archive
from kmcl_platform.tracking.archive.schema import to_table
from tests.search.study.small_study import KilledError, finish, kill_after, search_file

FILE = """
name: later
base: {num_epochs: 4, optim: {lr: 0.01}}
baselines: []
space:
  loss.clip: {kind: uniform, low: 0, high: 0.4}
  optim.lr: {kind: loguniform, low: 1e-3, high: 1e-1}
budget: {trials: 9}
scheduler: {kind: none}
sampler: {kind: tpe, startup_trials: 3, seed: 7}
"""
EARLIER = FILE.replace("name: later", "name: earlier").replace("trials: 9", "trials: 12").replace("seed: 7", "seed: 1")


def warm(words: str, text: str = FILE) -> SearchFile:
    return search_file(f"{text}warm_start: [{words}]\n")


def former(number: int, clip: float, value: float | None, **others: object) -> FormerTrial:
    base: dict[str, Any] = search_file(FILE).base.flat()
    return FormerTrial("earlier", number, base | {"loss.clip": clip} | others, value)


def numbers(trials: Sequence[FormerTrial], text: str = FILE) -> list[int]:
    return [point.number for point in choose_first_points(trials, search_file(text))]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The database of a store with a finished search."""
    url = f"sqlite:///{tmp_path}/optuna.db"
    study = DurableStudy(url, search_file(EARLIER))
    while (point := study.next_point()) is not None:
        finish(study, point.number)
    return url


def test_a_lucky_trial_comes_after_one_with_good_neighbours() -> None:
    region = [former(number, 0.30 + 0.01 * number, 0.8 + 0.01 * number) for number in range(4)]
    poor = [former(10 + number, 0.02 * number, 0.1 * number) for number in range(4)]
    lucky = former(20, 0.03, 0.9)
    assert numbers([*poor, lucky, *region])[0] == 3
    # Alone among equals it is the best.
    assert numbers([*poor, lucky])[0] == 20


def test_stopped_trials_are_worse_than_all_others_and_are_never_chosen() -> None:
    stopped = [former(number, 0.1 + 0.001 * number, None) for number in range(4)]
    near = former(5, 0.1, 0.9)
    far = [former(6 + number, 0.3 + 0.01 * number, 0.8 + 0.01 * number) for number in range(4)]
    found = numbers([*stopped, near, *far])
    assert found[0] == 9 and sorted(found) == [5, 6, 7, 8, 9]


def test_a_stopped_trial_is_worse_than_a_negative_value() -> None:
    text = FILE + "objective: {metric: train/loss, mode: minimize}\n"
    # With four neighbours each, the ranks of the stopped ones decide which of the two regions is better.
    stopped = [former(number, 0.10 + 0.001 * number, None) for number in range(3)]
    whole = [former(10 + number, 0.30 + 0.001 * number, 0.5) for number in range(3)]
    found = numbers([*stopped, former(5, 0.1, 0.4), *whole, former(15, 0.3, 0.41)], text)
    assert found[0] == 15


def test_for_a_metric_that_is_minimized_the_smallest_value_is_the_best() -> None:
    text = FILE + "objective: {metric: train/loss, mode: minimize}\n"
    assert numbers([former(0, 0.1, 0.9), former(1, 0.3, 0.2), former(2, 0.2, 0.5)], text)[0] == 1


@pytest.mark.parametrize(
    "others",
    [
        {"loss.clip": 0.5},
        {"optim.lr": 0.2},
        {"optim.optimizer": "adamw"},
        {"loss.formulation": "released"},
        {"loss.objective": "bce"},
        {"loss.kernel_scale": "total"},
    ],
)
def test_trials_outside_the_space_or_with_another_meaning_do_not_count(others: Mapping[str, object]) -> None:
    assert numbers([former(0, **{"clip": 0.1, "value": 0.9} | dict(others))]) == []  # type: ignore[arg-type]


def test_a_path_that_is_searched_may_have_any_value_of_its_range() -> None:
    text = FILE.replace("space:", "space:\n  optim.optimizer: {kind: choice, choices: [adam, adamw]}")
    (point,) = choose_first_points([former(0, 0.1, 0.9, **{"optim.optimizer": "adamw"})], search_file(text))
    assert point.values == {"optim.optimizer": "adamw", "loss.clip": 0.1, "optim.lr": 0.01}


def test_several_searches_take_turns_and_no_point_comes_twice_or_is_the_base() -> None:
    file = search_file(FILE)
    base = float(file.base.flat()["loss.clip"])  # type: ignore[arg-type]
    one = choose_first_points([former(0, base, 0.9), former(1, 0.2, 0.8), former(2, 0.3, 0.7)], file)
    two = choose_first_points([former(10, 0.3, 0.2), former(11, 0.35, 0.1), former(12, 0.4, 0.05)], file)
    assert [point.number for point in one] == [0, 1, 2]
    assert [point.number for point in take_in_turn([one, two], file)] == [10, 1, 11]


def test_first_points_are_at_most_half_of_the_trials() -> None:
    points = choose_first_points(
        [former(number, 0.05 * number, number / 10) for number in range(1, 6)], search_file(FILE)
    )
    for trials, expected in ((9, 3), (5, 2), (3, 1), (2, 1)):
        text = FILE.replace("trials: 9", f"trials: {trials}")
        assert len(take_in_turn([points], search_file(text))) == expected


def test_a_search_trains_the_best_points_of_an_earlier_one_first(url: str) -> None:
    file = warm("earlier")
    found = read_warm_start(file, url)
    assert len(found.points) == 3
    study = DurableStudy(url, file, warm_start=found)
    begun = [study.next_point() for _ in range(5)]
    assert all(begun)
    sources = [point.source for point in begun if point]
    # The base comes first, and the sampler's own points last.
    assert [bool(source) for source in sources] == [False, True, True, True, False]
    earlier = DurableStudy(url, search_file(EARLIER))
    for point, first in zip(begun[1:4], found.points, strict=True):
        assert point and point.config.optim == earlier.point(first.number).config.optim
        assert point.source == f"earlier trial {first.number}, {first.value:.4f} there"
    # Its best trial is the base, which is the first trial here too.
    assert earlier.ended.best(1) == [0] and earlier.ended.best(2)[1] in [point.number for point in found.points]
    loaded = load_study(url, "later")
    assert loaded is not None
    assert loaded.user_attrs[WARM_START] == [
        f"warm start: earlier: 12 of 12 trials lie in this space; begins with trials "
        f"{', '.join(str(point.number) for point in found.points)}"
    ]


def test_a_search_that_was_killed_while_it_queued_the_points_has_each_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = warm("earlier")
    whole = DurableStudy(url + "2", file, warm_start=read_warm_start(file, url))
    expected = [(trial.system_attrs, trial.user_attrs) for trial in load_trials(url + "2")]
    for _ in range(3):
        with monkeypatch.context() as patch:
            kill_after(1, patch, ("create_new_trial",))
            with pytest.raises(KilledError):
                DurableStudy(url, file, warm_start=read_warm_start(file, url))
    DurableStudy(url, file, warm_start=read_warm_start(file, url))
    assert [(trial.system_attrs, trial.user_attrs) for trial in load_trials(url)] == expected
    assert len(expected) == 4 and len(whole.ended.trials) == 0


def load_trials(url: str) -> Any:
    study = load_study(url, "later")
    assert study is not None
    return study.get_trials()


def test_a_search_does_not_go_on_with_other_earlier_searches(url: str) -> None:
    DurableStudy(url, warm("earlier"))
    with pytest.raises(
        SearchError, match=r"search 'later' was begun with warm_start = \[\"earlier\"\], the file now says"
    ):
        DurableStudy(url, search_file(FILE))


def archive(path: Path, rows: Sequence[tuple[int, float, str, float | None]], **common: object) -> Path:
    """An archive with one epoch of each trial: number, clip, outcome, value."""
    table = [
        {
            "store": "x",
            "search": "old",
            "trial": number,
            "epoch": 1,
            "config": json.dumps(search_file(FILE).base.with_values({"loss.clip": clip}).model_dump(mode="json")),
            "baseline": "",
            "outcome": outcome,
            "reason": "",
            "value": value,
            "objective": "val/mAP",
            "mode": "maximize",
            "num_epochs": 1,
            "device": "cpu",
            "workers": 1,
            "dataset": "d",
            "dataset_hash": "h",
            "packages": "{}",
            "seconds": 1.0,
            "time_ms": 0,
        }
        | common
        for number, clip, outcome, value in rows
    ]
    write_archive(to_table(table, "test"), path)
    return path


def test_an_archive_gives_points_without_a_store(tmp_path: Path) -> None:
    rows = [(0, 0.1, "completed", 0.5), (1, 0.2, "completed", 0.7), (2, 0.3, "pruned", 0.9), (3, 0.35, "failed", None)]
    path = archive(tmp_path / "old.parquet", rows)
    found = read_warm_start(warm(str(path)), None)
    assert [(point.search, point.number, point.value) for point in found.points] == [("old", 1, 0.7), ("old", 0, 0.5)]
    assert found.lines == [f"warm start: {path}: 3 of 3 trials lie in this space; begins with trials 1, 0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("later", "warm_start.0: got 'later', the name of this search; valid: an earlier search"),
        ("earlier, earlier", "warm_start.1: got 'earlier' twice; valid: each search once"),
        ("Earlier", "warm_start.0: got 'Earlier'; valid: the name of a search, or the path of an archive"),
        ("3", "warm_start.0: "),
        (", ".join(f"s{number}" for number in range(9)), "warm_start: "),
    ],
)
def test_words_that_name_no_earlier_search_are_refused(words: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        warm(words)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_grid_trains_every_point_and_needs_none_of_an_earlier_search() -> None:
    text = FILE.replace("{kind: uniform, low: 0, high: 0.4}", "{kind: choice, choices: [0, 0.1]}").replace(
        "{kind: loguniform, low: 1e-3, high: 1e-1}", "{kind: choice, choices: [0.01, 0.02]}"
    )
    text = text.replace("sampler: {kind: tpe, startup_trials: 3, seed: 7}", "sampler: {kind: grid}")
    with pytest.raises(ConfigError, match="warm_start: got 'earlier'; valid: nothing with sampler.kind grid"):
        warm("earlier", text.replace("trials: 9", "trials: 4"))


def test_an_earlier_search_that_does_not_fit_is_refused(url: str, tmp_path: Path) -> None:
    finished = [(0, 0.1, "completed", 0.5)]
    other_space = FILE.replace("low: 0, high: 0.4", "low: 0.5, high: 0.9").replace(
        "optim: {lr: 0.01}", "optim: {lr: 0.01}, loss: {clip: 0.6}"
    )
    cases: list[tuple[type[KmclError], SearchFile, str]] = [
        (SearchError, warm("earler"), "warm_start: got 'earler', which is no search of this store; valid: earlier"),
        (
            SearchError,
            warm("earlier", FILE + "objective: {metric: val/CF1}\n"),
            "warm_start: search 'earlier': objective.metric: got 'val/mAP'; valid: 'val/CF1', as here",
        ),
        (
            SearchError,
            warm("earlier", other_space),
            "warm_start: 'earlier': got 12 trials, of which none that finished lies in this space (the first that does "
            "not: loss.clip ",
        ),
        (DataError, warm(f"{tmp_path}/none.parquet"), "none.parquet: cannot be read (No such file or directory)"),
        (
            DataError,
            warm(str(archive(tmp_path / "stopped.parquet", [(0, 0.1, "pruned", None)]))),
            "stopped.parquet: got no trial that has finished; valid: a search with at least one",
        ),
        (
            DataError,
            warm(str(archive(tmp_path / "loss.parquet", finished, objective="train/loss", mode="minimize"))),
            "loss.parquet: objective: got 'train/loss'; valid: 'val/mAP', as in the search",
        ),
        (
            DataError,
            warm(str(archive(tmp_path / "text.parquet", finished, config="{"))),
            "text.parquet: column 'config': got '{'; valid: JSON",
        ),
    ]
    for kind, file, message in cases:
        with pytest.raises(kind) as caught:
            read_warm_start(file, url)
        assert message in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(
        SearchError, match=r"valid in a simulation: archives \(kmcl archive earlier --to earlier.parquet\)"
    ):
        read_warm_start(warm("earlier"), None)


def test_a_model_that_breaks_a_constraint_here_is_no_first_point(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    study = DurableStudy(url, search_file(EARLIER))
    while (point := study.next_point()) is not None:
        for epoch in range(1, 5):
            aims = {"params_millions": 40.0 if point.number % 2 else 10.0}
            study.report(point.number, epoch, float(point.number), aims=aims)
        study.tell(point.number, "completed", float(point.number))
    free = [point.number for point in read_warm_start(warm("earlier"), url).points]
    assert any(number % 2 for number in free)
    bound = warm("earlier", FILE + "constraints: {params_millions: <= 30}\n")
    found = read_warm_start(bound, url)
    allowed = [point.number for point in found.points]
    assert allowed and not any(number % 2 for number in allowed)
    assert (
        f", {sum(number % 2 for number in study.ended.ends)} left out because of a constraint; begins with"
        in found.lines[0]
    )
