"""A search file with arms, as a user runs it: each arm is a search of its own, which a second start finds."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.runs.leaderboard import LeaderboardRow, read_leaderboard
from tests.support.command_line import kmcl, kmcl_process

pytestmark = [pytest.mark.long, pytest.mark.takes(130)]

ARMS = """
name: race
base:
  data: {{source: {source}, image_size: 32, batch_size: 32}}
  model: {{backbone: test_byobnet}}
  optim: {{optimizer: adamw, lr: 5e-3, ema_decay: 0.9}}
  num_epochs: 1
arms:
  bce: {{loss.objective: bce}}
  kmcl: {{loss.objective: kmcl}}
space:
  optim.lr: {{kind: loguniform, low: 1e-3, high: 1e-2}}
  loss.temperature: {{kind: loguniform, low: 0.05, high: 1, when: {{loss.objective: kmcl}}}}
budget: {{trials: 2}}
scheduler: {{kind: none}}
sampler: {{kind: random, seed: 3}}
verdict: {{seeds: 2}}
"""


@dataclass(frozen=True)
class Race:
    """A file with two arms that was run to its end, and the output of the run."""

    store: Path
    file: Path
    output: str


@pytest.fixture(scope="module")
def raced(small_manifest: Path, initialised_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Race:
    folder = tmp_path_factory.mktemp("arms")
    file = folder / "race.yaml"
    file.write_text(ARMS.format(source=small_manifest))
    (folder / "store").mkdir()
    shutil.copy(initialised_database, folder / "store" / "mlflow.db")
    done = kmcl_process("search", file, store=folder / "store")
    assert done.exit_code == 0, done.output
    return Race(folder / "store", file, done.stdout)


def rows(raced: Race, arm: str) -> list[LeaderboardRow]:
    return read_leaderboard(open_store(raced.store), f"race-{arm}").rows


def test_every_arm_has_its_own_trials(raced: Race) -> None:
    for arm, paths in (("bce", {"optim.lr"}), ("kmcl", {"optim.lr", "loss.temperature"})):
        trials = rows(raced, arm)
        assert sorted(trial.number for trial in trials) == [0, 1]
        assert {trial.outcome for trial in trials} == {"completed"}
        assert {path for trial in trials for path in trial.values} == paths
        for trial in trials:
            folder = raced.store / "checkpoints" / f"race-{arm}" / f"trial-{trial.number:04d}"
            trained = json.loads((folder / "epoch-0001" / "trial.json").read_text())["config"]
            assert trained["loss"]["objective"] == arm
            assert trained["optim"]["lr"] == float(trial.values["optim.lr"])


def test_arms_with_the_same_seed_try_the_same_points(raced: Race) -> None:
    rates = [{row.number: row.values["optim.lr"] for row in rows(raced, arm)} for arm in ("bce", "kmcl")]
    assert rates[0][0] == rates[1][0] == "0.005"
    assert rates[0] == rates[1]


def test_the_arms_are_compared_and_the_next_commands_named(raced: Race) -> None:
    for arm in ("bce", "kmcl"):
        best = rows(raced, arm)[0].objective
        summary = [line.split() for line in raced.output.splitlines() if line.split()[:1] == [f"race-{arm}"]]
        assert summary == [[f"race-{arm}", f"{best:.4f}", "2"]]
        assert f"next: kmcl promote race-{arm} --store" in raced.output


def test_the_best_trial_of_each_arm_is_trained_again_and_compared(raced: Race) -> None:
    seeds = []
    for arm in ("bce", "kmcl"):
        best = rows(raced, arm)[0]
        again = rows(raced, f"{arm}-best{best.number}")
        assert [row.outcome for row in again] == ["completed"] * 2
        seeds.append({row.values["seed"] for row in again})
        folder = raced.store / "checkpoints" / f"race-{arm}-best{best.number}"
        for path in folder.rglob("trial.json"):
            trained = json.loads(path.read_text())["config"]
            assert trained["optim"]["lr"] == float(best.values["optim.lr"])
            assert str(trained["seed"]) in seeds[-1]
    assert seeds[0] == seeds[1]
    (line,) = [line for line in raced.output.splitlines() if line.startswith("verdict: kmcl ")]
    assert "compared with bce" in line and "95 % interval [" in line and line.endswith(", 2 seeds)")
    assert "kmcl promote race-bce-best" not in raced.output


def test_a_second_start_runs_nothing(raced: Race) -> None:
    before = sorted((path, path.stat().st_mtime) for path in (raced.store / "checkpoints").rglob("trial.json"))
    again = kmcl("search", raced.file, store=raced.store)
    assert again.exit_code == 0, again.output
    assert again.stdout.count("already finished") == 4
    assert "verdict: kmcl " in again.stdout
    assert "starting Ray" not in again.stdout
    assert sorted((p, p.stat().st_mtime) for p in (raced.store / "checkpoints").rglob("trial.json")) == before
    assert [len(rows(raced, arm)) for arm in ("bce", "kmcl")] == [2, 2]
