"""A whole search with two objectives and a constraint: its record, its report, and the trial that is promoted."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from kmcl_platform.config.store import Store, open_store
from kmcl_platform.search.run.run_search import run_search
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.training.checkpoints.checkpoint_folder import find_checkpoint
from kmcl_platform.training.costs import model_costs
from tests.registry.promotion.story import promote
from tests.support.command_line import kmcl

pytestmark = [pytest.mark.story, pytest.mark.takes(40)]

SEARCH = """
name: small
base:
  data: {{source: {source}, image_size: 32, batch_size: 64}}
  model: {{backbone: test_byobnet}}
  optim: {{optimizer: adamw, lr: 5e-3, ema_decay: 0.9}}
  num_epochs: 2
objectives: [{{metric: val/mAP}}, {{metric: latency_ms}}, {{metric: gflops}}]
constraints: {{params_millions: <= 0.5}}
baselines: []
space:
  model.backbone: {{kind: choice, choices: [test_byobnet, test_resnet, resnet10t]}}
budget: {{trials: 3, checkpoints: 1}}
sampler: {{kind: grid}}
"""
LATENCIES = {"test_byobnet": 4.0, "test_resnet": 9.0, "resnet10t": 30.0}


@pytest.fixture(scope="module")
def searched(
    initialised_database: Path, small_manifest: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, str]:
    """The store of the search, and what it printed."""
    folder = tmp_path_factory.mktemp("aims")
    (folder / "small.yaml").write_text(SEARCH.format(source=small_manifest))
    store, output = open_store(folder / "store"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        # Real latencies of such networks differ by chance.
        patch.setattr(model_costs, "_time", lambda model, *_: LATENCIES[model.backbone.name if model.backbone else ""])
        run_search(folder / "small.yaml", store, Console(file=output, width=200), inline=True)
    return store, output.getvalue()


def test_a_model_that_costs_too_much_is_not_trained(searched: tuple[Store, str]) -> None:
    store, output = searched
    assert "(params_millions 4.938 breaks the constraint params_millions <= 0.5)" in output
    row = next(row for row in read_leaderboard(store, "small").rows if row.values["model.backbone"] == "resnet10t")
    assert (row.outcome, row.epochs, row.objective) == ("pruned", 0, None)
    assert "breaks the constraint" in row.reason
    assert row.ending == "refused" and row.aims["params_millions"] == pytest.approx(4.938, abs=0.001)
    # What was measured is in MLflow as a metric, and the board says why the trial was not trained.
    assert set(row.aims) == {"latency_ms", "gflops", "params_millions"}
    shown = kmcl("leaderboard", "small", store=store.root).output
    assert f"refused: trial {row.number}: broke params_millions <= 0.5" in shown
    parent = read_leaderboard(store, "small").parent_id
    page = Path(connect(store).download_artifacts(parent, "report/report.html")).read_text()
    assert "<td>refused</td>" in page and "trials: 2 completed, 1 refused" in page
    # MLflow's outcomes have no such name: the trial counts as pruned, and as ended.
    last = max(connect(store).get_metric_history(parent, "trials/pruned"), key=lambda one: one.timestamp)
    assert (last.step, last.value) == (3, 1)


def test_when_every_model_costs_too_much_the_reason_is_said(
    prepared_store: Path, small_manifest: Path, tmp_path: Path
) -> None:
    text = SEARCH.format(source=small_manifest).replace("<= 0.5", "<= 0.001").replace("name: small", "name: none_fits")
    (tmp_path / "none.yaml").write_text(text)
    answer = kmcl("search", tmp_path / "none.yaml", "--inline", store=prepared_store)
    assert answer.exit_code == 4
    assert (
        "no report: search 'none_fits' has no finished trial that ran all 2 epochs (trials: 3 refused); valid: wider"
        in (" ".join(answer.output.split()))
    )
    shown = kmcl("leaderboard", "none_fits", store=prepared_store).output
    assert "refused: trials 0, 1, 2: broke params_millions <= 0.001" in shown


def test_every_trade_off_keeps_its_checkpoint_and_is_named(searched: tuple[Store, str]) -> None:
    store, _ = searched
    board = read_leaderboard(store, "small")
    full = [row for row in board.rows if row.rank is not None]
    assert {row.aims["latency_ms"] for row in full} == {4.0, 9.0}
    front = board.front()
    # Both, unless the network with fewer operations is also the better one.
    assert full[0] in front
    for row in front:
        assert find_checkpoint(store.trial_checkpoints("small", row.number)) is not None
    tag = connect(store).get_run(board.parent_id).data.tags["kmcl.front"]
    assert tag == ", ".join(str(row.number) for row in front)
    shown = kmcl("leaderboard", "small", store=store.root).output
    assert f"trial {front[0].number}: val/mAP {front[0].objective:.4f}, latency_ms " in shown
    last = front[-1].aims["latency_ms"]
    example = re.search(r"kmcl promote small --prefer 'latency_ms<([0-9.]+)'", shown)
    assert (example is not None) == (len(front) > 1)
    assert example is None or last < float(example[1]) < 1.2 * last
    assert "latency_ms" in kmcl("leaderboard", "small", "--json", store=store.root).output


def test_the_report_shows_the_trade_offs(searched: tuple[Store, str]) -> None:
    store, _ = searched
    client, parent = connect(store), read_leaderboard(store, "small").parent_id
    page = Path(client.download_artifacts(parent, "report/report.html")).read_text()
    assert "<h2>Trade-offs</h2>" in page
    assert "Not drawn" not in page.partition("<h2>Trade-offs</h2>")[2].partition("</section>")[0]
    assert "<th>latency_ms</th><th>gflops</th><th>params_millions</th>" in page


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ("latency_ms<4", "prefer: got 'latency_ms<4', which no trial of full length keeps; valid: the least of the"),
        ("seconds<4", "prefer: got 'seconds<4'; valid: latency_ms<NUMBER or gflops<NUMBER or params_millions<NUMBER"),
        ("latency_ms>4", "prefer: got 'latency_ms>4'; valid: latency_ms<NUMBER"),
    ],
)
def test_a_bound_that_no_trial_keeps_is_refused(bound: str, words: str, searched: tuple[Store, str]) -> None:
    answer = promote(searched[0], "--prefer", bound)
    assert answer.exit_code == 2
    assert words in answer.output


def test_a_trial_without_a_checkpoint_is_named(searched: tuple[Store, str], tmp_path: Path) -> None:
    store, _ = searched
    fast = next(row for row in read_leaderboard(store, "small").rows if row.aims.get("latency_ms") == 4.0)
    folder = store.trial_checkpoints("small", fast.number)
    folder.rename(tmp_path / "away")
    try:
        answer = promote(store, "--prefer", "latency_ms<5")
    finally:
        (tmp_path / "away").rename(folder)
    assert answer.exit_code == 2
    assert f"which only trials without a kept checkpoint keep ({fast.number}); valid: another bound" in answer.output


def test_a_bound_chooses_the_trial(searched: tuple[Store, str]) -> None:
    store, _ = searched
    fast = next(row for row in read_leaderboard(store, "small").rows if row.aims.get("latency_ms") == 4.0)
    answer = promote(store, "--prefer", "latency_ms<=4")
    assert answer.exit_code == 0, answer.output
    assert connect(store).get_model_version_by_alias("small", "champion").tags["kmcl.number"] == str(fast.number)
