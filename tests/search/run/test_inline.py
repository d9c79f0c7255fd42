"""A search in one process: the study, the record and the figures of any other search, without Ray."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from rich.console import Console

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.search.run import run_search as module, trial_training
from kmcl_platform.search.run.run_search import resume_search, run_search
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.training.step import LossParts, LossWatch
from tests.support.command_line import kmcl

SEARCH = """
name: alone
base:
  data: {{source: {source}, image_size: 32, batch_size: 64}}
  model: {{backbone: test_byobnet}}
  optim: {{optimizer: adamw, lr: 5e-3, ema_decay: 0.9}}
  num_epochs: 2
baselines: []
space:
  optim.lr: {{kind: loguniform, low: 1e-3, high: 1e-2}}
budget: {{trials: 2}}
scheduler: {{kind: none}}
sampler: {{kind: random, seed: 3}}
"""

ONE_PROCESS = """
import sys
# As on a machine where Ray is not installed: its import is an error.
sys.modules["ray"] = None
from kmcl_platform.cli.main import main
sys.argv = ["kmcl", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    code = end.code
import psutil
print("loaded", [name for name in ("ray.tune", "mlflow.server", "flask") if name in sys.modules])
print("children", len(psutil.Process().children()))
sys.exit(code)
"""


@pytest.fixture
def file(tmp_path: Path, small_manifest: Path) -> Path:
    path = tmp_path / "alone.yaml"
    path.write_text(SEARCH.format(source=small_manifest))
    return path


def search(file: Path, store: Store) -> str:
    output = io.StringIO()
    run_search(file, store, Console(file=output, width=200), inline=True)
    return output.getvalue()


def values_of(store: Store) -> dict[int, tuple[str, float | None]]:
    return {row.number: (row.outcome, row.objective) for row in read_leaderboard(store, "alone").rows}


@pytest.fixture(scope="module")
def searched(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The file and the store of a search that one process has run."""
    folder = tmp_path_factory.mktemp("searched")
    path = folder / "alone.yaml"
    path.write_text(SEARCH.format(source=small_manifest))
    command = [sys.executable, "-c", ONE_PROCESS, "search", str(path), "--inline", "--store", str(folder / "store")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "loaded []" in done.stdout and "children 0" in done.stdout
    return path, folder / "store"


@pytest.mark.story
def test_a_whole_search_in_one_process(searched: tuple[Path, Path]) -> None:
    store = open_store(searched[1])
    assert [outcome for outcome, _ in values_of(store).values()] == ["completed", "completed"]
    board = read_leaderboard(store, "alone")
    client = MlflowClient(store.tracking_uri)
    assert client.get_run(board.parent_id).info.status == "FINISHED"
    figures = {one.path for one in client.list_artifacts(board.rows[0].run_id, "figures")}
    assert {"figures/classes.json", "figures/precision_recall.png", "figures/mistakes.png"} <= figures
    reports = {one.path for one in client.list_artifacts(board.parent_id, "report")}
    assert reports == {"report/report.html", "report/best.yaml"}


@pytest.mark.story
def test_any_trial_is_a_file_that_trains_to_the_same_value(
    searched: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, root = searched
    store = open_store(root)
    rows = {row.number: row for row in read_leaderboard(store, "alone").rows}
    client = MlflowClient(store.tracking_uri)
    best = kmcl("export-config", "alone", store=root).stdout
    kept = client.download_artifacts(read_leaderboard(store, "alone").parent_id, "report/best.yaml", str(tmp_path))
    assert Path(kept).read_text() == best
    written = kmcl("export-config", "alone", "--trial", "1", "--out", "one.yaml", store=root)
    assert written.exit_code == 0, written.output
    one = read_search_file(Path("one.yaml"))
    assert (one.name, str(one.base.optim.lr)) == ("alone-trial1", rows[1].values["optim.lr"])
    # The base of the written file, alone, and in place of the base of the first file.
    for words in (("one.yaml",), (file, "--values", "one.yaml")):
        trained = kmcl("train", *words, "--inline", store=root)
        assert trained.exit_code == 0, trained.output
        (name,) = re.findall(r"^search (\S+): finished", trained.stdout, flags=re.MULTILINE)
        (row,) = read_leaderboard(store, name).rows
        assert row.objective == rows[1].objective
    again = kmcl("train", "one.yaml", "--inline", store=root)
    assert "already finished" in again.stdout


@pytest.mark.story
def test_a_trial_or_a_file_that_is_not_there(searched: tuple[Path, Path], tmp_path: Path) -> None:
    file, root = searched
    arms = tmp_path / "arms.yaml"
    arms.write_text(file.read_text() + "arms: {a: {loss.clip: 0}, b: {loss.clip: 0.1}}\n")
    for words, message in (
        (("export-config", "alone", "--trial", "7"), "search 'alone': got trial 7; valid: 0 to 1"),
        (
            ("export-config", "alone", "--out", "one.txt"),
            "--out: got one.txt; valid: the path of a search file (*.yaml)",
        ),
        (("train", arms, "--inline"), f"{arms}: arms: got a, b; valid: a file without arms, which has one base"),
        (("train", file, "--values", "gone.yaml"), "gone.yaml: no such file; valid: the path of a YAML search file"),
    ):
        refused = kmcl(*words, store=root)
        assert (refused.exit_code, refused.stderr.strip()) == (2, f"kmcl: {message}")


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C works, also if the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_keys() -> None:
    signal.raise_signal(signal.SIGINT)


def press_keys_in_a_callback() -> None:
    """Ctrl-C at a moment in which Python discards the error."""
    something = threading.Event()
    reference = weakref.ref(something, lambda _: press_keys())
    del something
    assert reference() is None


@pytest.mark.story
@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("press", [press_keys, press_keys_in_a_callback])
def test_an_interrupted_search_goes_on_with_the_same_numbers(
    press: Callable[[], None], file: Path, prepared_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(prepared_store)
    fit = trial_training.fit

    def interrupted(*words: Any, report: Any, **others: Any) -> None:
        def report_and_press(result: EpochReport) -> bool:
            if press is press_keys_in_a_callback:
                press()
            goes_on: bool = report(result)
            press()
            return goes_on

        fit(*words, report=report_and_press, **others)

    with monkeypatch.context() as patch:
        patch.setattr(trial_training, "fit", interrupted)
        assert "0 already finished" in search(file, store)
    assert [outcome for outcome, _ in values_of(store).values()] == ["interrupted"]
    output = io.StringIO()
    resume_search("alone", store, Console(file=output, width=200), inline=True)
    assert "trial 0: goes on after epoch 1" in output.getvalue()
    undisturbed = open_store(tmp_path / "undisturbed")
    search(file, undisturbed)
    assert values_of(store) == values_of(undisturbed)


@pytest.mark.story
def test_sigterm_ends_a_search_after_a_checkpoint_within_the_epoch(
    file: Path, prepared_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(prepared_store)
    add, steps = LossWatch.add, []

    def send(watch: LossWatch, parts: LossParts) -> None:
        add(watch, parts)
        steps.append(parts)
        if len(steps) == 2:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(LossWatch, "add", send)
        assert "0 already finished" in search(file, store)
    assert [outcome for outcome, _ in values_of(store).values()] == ["interrupted"]
    assert [path.name for path in store.trial_checkpoints("alone", 0).iterdir()] == ["part-0001-000002"]
    # In the same process: the notice does not end the next start.
    search(file, store)
    undisturbed = open_store(tmp_path / "undisturbed")
    search(file, undisturbed)
    assert values_of(store) == values_of(undisturbed)


@pytest.mark.story
def test_a_trial_that_fails_shows_its_whole_traceback_and_the_next_one_runs(
    file: Path, prepared_store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fit, calls = trial_training.fit, []

    def fails_once(*words: Any, **others: Any) -> None:
        calls.append(words)
        if len(calls) == 1:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        fit(*words, **others)

    monkeypatch.setattr(trial_training, "fit", fails_once)
    store = open_store(prepared_store)
    search(file, store)
    assert [outcome for outcome, _ in values_of(store).values()] == ["completed", "failed"]
    assert "RuntimeError: mat1 and mat2 shapes" in caplog.text and "in fails_once" in caplog.text


def test_the_end_of_the_time_leaves_the_trial_open(
    file: Path, prepared_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(prepared_store)
    file.write_text(file.read_text().replace("trials: 2", "trials: 2, hours: 1"))
    spent: list[bool] = []

    class Hurried(module.InlineRunner):
        def run(self, file: Any, driver: Any, concurrency: int) -> None:
            # The time is spent after the first epoch.
            driver._study.ledger.time_spent = lambda: "budget.hours: 1 of 1 spent" if spent else None
            take = driver.take

            def spending(key: str, message: Any) -> bool:
                ended: bool = take(key, message)
                spent.append(True)
                return ended

            driver.take = spending
            super().run(file, driver, concurrency)

    monkeypatch.setattr(module, "InlineRunner", Hurried)
    search(file, store)
    assert [outcome for outcome, _ in values_of(store).values()] == ["interrupted"]
    assert len(spent) == 1


def test_what_cannot_run_inline_is_refused(file: Path, prepared_store: Path) -> None:
    text = file.read_text()
    for resources, message in (
        ("{workers_per_trial: 2}", "resources.workers_per_trial: got 2; valid with --inline: 1"),
        (
            "{cpus_per_worker: 1000}",
            f"resources.cpus_per_worker: got 1000; valid with --inline: at most {os.cpu_count()}, the cores here",
        ),
        (
            "{gpus_per_worker: 1}",
            "resources.gpus_per_worker: got 1; valid with --inline: 0, because torch finds no GPU here",
        ),
    ):
        file.write_text(text + f"resources: {resources}\n")
        refused = kmcl("search", file, "--inline", store=prepared_store)
        assert (refused.exit_code, refused.stderr.strip()) == (2, f"kmcl: {file}: {message}")
    file.write_text(
        text.replace("{kind: none}", "{kind: hyperband, min_epochs: 1}").replace(
            "lr: 5e-3", "lr: 5e-3, warmup_fraction: 0.9"
        )
    )
    refused = kmcl("search", file, "--inline", store=prepared_store)
    assert refused.exit_code == 2
    assert refused.stderr.startswith(
        f"kmcl: {file}: scheduler.min_epochs: got 1, but the learning rate rises until epoch 1.8"
    )
    file.write_text(text)
    refused = kmcl("search", file, "--inline", "--address", "auto", store=prepared_store)
    assert (refused.exit_code, refused.stderr.strip()) == (
        2, "kmcl: --address: got 'auto'; valid with --inline: no address, because Ray is not used"
    )  # fmt: skip
