"""Ask and tell: a search for a training loop of the user's own."""

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from rich.console import Console

from kmcl_platform import (
    KmclError,
    NoStopping,
    SearchFile,
    SearchInterrupted,
    Store,
    archive,
    open_search,
    promote,
    search,
)
from kmcl_platform.search.run.asked_point import AskedPoint
from kmcl_platform.search.run.own_training import OpenSearch

FILE = SearchFile(
    name="mine",
    objective={"metric": "accuracy"},
    base={"own": {"lr": 1e-3, "width": 64, "kind": "a"}, "num_epochs": 4},
    space={
        "own.lr": {"kind": "loguniform", "low": 1e-5, "high": 0.1},
        "own.width": {"kind": "int", "low": 16, "high": 256},
        "own.kind": {"kind": "choice", "choices": ["a", "b"]},
    },
    budget={"trials": 6},
    sampler={"startup_trials": 3},
)


def curve(point: AskedPoint, epoch: int) -> float:
    return 1 - abs(point.values["lr"] - 0.01) * 5 - 1 / (epoch + 1) - (point.values["kind"] == "b") / 100


def train(opened: OpenSearch, after: Callable[[AskedPoint, int], None] = lambda point, epoch: None) -> list[int]:
    """A user's loop; returns the trials that it was given."""
    numbers = []
    for point in opened.ask():
        numbers.append(point.number)
        for epoch in range(point.reached + 1, point.num_epochs + 1):
            value = curve(point, epoch)
            if point.report(epoch, value, {"train/loss": 1 - value}, seconds=0.5):
                break
            after(point, epoch)
    return numbers


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def undisturbed(initialised_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    root = tmp_path_factory.mktemp("undisturbed")
    (root / "mlflow.db").write_bytes(initialised_database.read_bytes())
    with open_search(FILE, store=root, console=quiet()) as opened:
        assert train(opened) == [0, 1, 2, 3, 4, 5]
    yield Store(root)


def test_the_record_is_that_of_any_search(undisturbed: Store) -> None:
    trials = undisturbed.trials("mine")
    assert undisturbed.searches() == ["mine"] and len(trials) == 6
    best = trials.iloc[0]
    assert (best["rank"], best["outcome"], best["epochs"]) == (1, "completed", 4)
    assert trials["accuracy"].is_monotonic_decreasing or trials["outcome"].nunique() > 1
    stopped = trials[trials["outcome"] == "pruned"]
    assert len(stopped) and all("rung 1 of" in reason or "rung 2 of" in reason for reason in stopped["reason"])
    # The base is the first trial, and has its own values.
    base = trials[trials["trial"] == 0].iloc[0]
    assert (base["baseline"], base["own.lr"], base["own.width"], base["own.kind"]) == ("base", 1e-3, 64, "a")
    run = next(
        run
        for run in MlflowClient(undisturbed.tracking_uri).search_runs(
            [MlflowClient(undisturbed.tracking_uri).get_experiment_by_name("mine").experiment_id]
        )
        if run.data.tags.get("kmcl.number") == "0"
    )
    assert run.data.params == {"own.lr": "0.001", "own.width": "64", "own.kind": "a", "num_epochs": "4", "seed": "0"}
    assert run.data.metrics["train/loss"] == pytest.approx(1 - base["accuracy"])
    assert undisturbed.study("mine").best_value == best["accuracy"]


def test_a_store_shows_it_in_every_form(undisturbed: Store, tmp_path: Path) -> None:
    board = undisturbed.leaderboard("mine")
    assert "best trial apart from the baselines: " in str(board) and "KMCL" not in str(board)
    assert board._repr_html_().startswith("<pre") and "mine" in str(undisturbed)
    assert undisturbed.report("mine").write(tmp_path / "r.html").read_text().startswith("<!")
    with pytest.raises(KmclError, match=r"r\.html: exists; valid: a new file, or --overwrite"):
        undisturbed.report("mine").write(tmp_path / "r.html")
    best = undisturbed.trials("mine").iloc[0]
    own = SearchFile.from_text(undisturbed.export_config("mine")).base.own
    assert own == {name: best[f"own.{name}"] for name in ("lr", "width", "kind")}


def test_an_interrupted_search_goes_on_with_the_same_numbers(undisturbed: Store, prepared_store: Path) -> None:
    def press_keys(point: AskedPoint, epoch: int) -> None:
        if (point.number, epoch) == (2, 1):
            raise KeyboardInterrupt

    def fail(point: AskedPoint, epoch: int) -> None:
        if (point.number, epoch) == (2, 2):
            raise ZeroDivisionError("a mistake in the user's code")

    output = quiet()
    stopped = pytest.raises(SearchInterrupted, match="search mine: stopped; nothing is lost")
    with stopped, open_search(FILE, store=prepared_store, console=output) as opened:
        train(opened, press_keys)
    assert Store(prepared_store).trials("mine").set_index("trial").loc[2, "outcome"] == "interrupted"
    with pytest.raises(ZeroDivisionError), open_search(FILE, store=prepared_store, console=output) as opened:
        train(opened, fail)
    with open_search(FILE, store=prepared_store, console=output) as opened:
        assert train(opened) == [2, 3, 4, 5]
    assert "trial 2: goes on after epoch 1" in output.file.getvalue()
    assert "trial 2: goes on after epoch 2" in output.file.getvalue()
    pd.testing.assert_frame_equal(Store(prepared_store).trials("mine"), undisturbed.trials("mine"))
    # Nothing is left to run.
    with open_search(FILE, store=prepared_store, console=output) as opened:
        assert list(opened.ask()) == []


def test_every_end_of_a_trial(prepared_store: Path) -> None:
    file = FILE.model_copy(update={"scheduler": NoStopping()})
    with open_search(file, store=prepared_store, console=quiet()) as opened:
        with pytest.raises(
            KmclError, match=r"^search 'mine': no point was asked; valid: for point in SEARCH\.ask\(\)$"
        ):
            opened.tell(0.5)
        asked = opened.ask()
        base = next(asked)
        with pytest.raises(
            KmclError, match=r"^trial 0: has not ended; valid: report all of its 4 epochs, or call tell"
        ):
            next(opened.ask())
        for epoch, metrics, message in (
            (5, {}, "trial 0: epoch: got 5; valid: a whole number from 1 to 4"),
            (1, {"a\nb": 1.0}, r"trial 0: metrics: got 'a\nb'; valid: at most 250 letters"),
            (1, {"accuracy": 1.0}, "trial 0: metrics: got 'accuracy'; valid: "),
            (1, {"loss": float("nan")}, "EpochReport.metrics.loss: got nan; valid: a finite number"),
        ):
            with pytest.raises(KmclError) as refused:
                base.report(epoch, 0.5, metrics)
            assert str(refused.value).startswith(message)
        (base.folder / "own.pt").write_bytes(b"weights")
        assert not opened.report(1, 0.25)
        opened.tell(0.5)
        assert base.ended and base.report(2, 0.75), "a trial that has ended stays as it is"
        next(asked).fail("out of\nmemory \0\x1b[31m" + "x" * 5000)
        assert next(asked).report(2, float("inf"))
        # Two at the same time.
        together = opened.ask(at_once=2)
        third, fourth = next(together), next(together)
        fourth.tell(0.1)
        third.tell(0.2)
    trials = Store(prepared_store).trials("mine").set_index("trial")
    ends = [(one.outcome, one.reason, one.accuracy) for one in trials.sort_index().itertuples()]
    assert ends[0] == ("completed", "", 0.5) and ends[3:] == [("completed", "", 0.2), ("completed", "", 0.1)]
    assert ends[1][0] == "failed" and re.fullmatch(
        r"out of memory \\x00\\x1b\[31mx+ … x+ \([\d,]+ characters\)", ends[1][1]
    )
    assert len(ends[1][1]) < 700
    assert ends[2][:2] == ("diverged", "accuracy is inf after epoch 2")
    assert (base.folder / "own.pt").read_bytes() == b"weights", "the folder of one of the best trials is kept"


def test_the_first_rung_of_an_own_training_needs_no_warm_up() -> None:
    parts = FILE.model_dump(exclude={"scheduler"}) | {"base": {"own": FILE.base.own, "num_epochs": 40}}
    assert SearchFile(**parts).scheduler.min_epochs == 1
    assert SearchFile(**parts | {"base": {"num_epochs": 40}, "objective": {}}).scheduler.min_epochs == 8


def test_what_only_the_platform_can_train_and_what_it_cannot(tmp_path: Path, undisturbed: Store) -> None:
    arms = (
        FILE.to_yaml()
        .replace("arms: {}", "arms: {x: {own.width: 16}, y: {own.width: 32}}")
        .replace("  own.width:\n    when: {}\n    kind: int\n    low: 16\n    high: 256\n    log: false\n", "")
    )
    for call, message in (
        (lambda: search(FILE, store=tmp_path), "SearchFile 'mine': base.own: got lr, width, kind; valid: no own values"),
        (lambda: archive("mine", tmp_path / "a.parquet", store=undisturbed), "search 'mine': got a training of your own"),
        (lambda: promote("mine", store=undisturbed), "search 'mine': got a search with a training of your own"),
        (lambda: open_search(SearchFile.from_text(arms), store=tmp_path).__enter__(), "SearchFile 'mine': arms: got some; valid: none"),
        (lambda: SearchFile(**FILE.model_dump() | {"base": {}}), "SearchFile.objective.metric: got 'accuracy'; valid: "),
        (lambda: SearchFile(name="x", base={"own": {"a.b": 1}}, space=FILE.space, budget={"trials": 3}),
         "SearchFile.base.own.a.b: got 'a.b'; valid: a name of letters, digits and _"),
    ):  # fmt: skip
        with pytest.raises(KmclError) as refused:
            call()
        assert str(refused.value).startswith(message)
    assert list(tmp_path.iterdir()) == []
