"""Simulated searches: the decisions of real ones, curves of an archive, and what is no archive of the search."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.rank_agreement import rank_agreement
from kmcl_platform.search.replay import virtual_search
from kmcl_platform.search.replay.archive_curves import ArchiveCurves, agreement_by_epoch, select_curves
from kmcl_platform.search.replay.surrogate import Surrogate
from kmcl_platform.search.replay.virtual_search import simulate
from kmcl_platform.search.sampling.encoding import encode
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.archive.archive_file import read_archive, write_archive
from kmcl_platform.tracking.archive.schema import to_table
from tests.search.replay.synthetic import FILE, NOISE, SEARCH, changed, final_value, rows, write_synthetic
from tests.support.command_line import kmcl


def test_a_search_is_the_same_as_with_a_database(
    archive: ArchiveCurves, surrogate: Surrogate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = simulate(FILE, surrogate, archive, seed=4, at_once=2)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    monkeypatch.setattr(virtual_search, "MEMORY", url)
    assert simulate(FILE, surrogate, archive, seed=4, at_once=2) == in_memory
    # And the study has the same trials as a real search: states, values of every epoch, and how they ended.
    study = DurableStudy(url, changed(sampler=FILE.sampler.model_dump() | {"seed": 4}))
    assert len(study.counted()) == FILE.budget.trials == sum(in_memory.ends.values())
    reported = [value for trial in study.counted() for value in trial.intermediate_values.values()]
    assert len(reported) == in_memory.total_epochs - in_memory.ends.get("diverged", 0)
    assert study.best_value() == in_memory.final


def test_settings_are_compared_with_the_same_chance(archive: ArchiveCurves, surrogate: Surrogate) -> None:
    whole = changed(scheduler={"kind": "none"})
    for seed in range(3):
        stopped, trained = (simulate(file, surrogate, archive, seed=seed, at_once=1) for file in (FILE, whole))
        assert trained.total_epochs > stopped.total_epochs
        assert trained.ends.keys() <= {"completed", "diverged"}
        assert trained.regret == 0
        # The first trial is the base in both, and has the same curve.
        assert trained.best[0] == pytest.approx(stopped.best[0])


def test_a_rung_before_the_order_is_known_costs_the_best_trials(archive: ArchiveCurves, surrogate: Surrogate) -> None:
    """After epoch 1 the curves are in the order of the learning rates, which is not that of their ends."""
    early = changed(scheduler={"kind": "successive_halving", "min_epochs": 1, "reduction_factor": 3})
    results = {
        name: [simulate(file, surrogate, archive, seed=seed, at_once=1) for seed in range(12)]
        for name, file in (("early", early), ("later", FILE))
    }
    regret = {name: np.mean([one.regret for one in found]) for name, found in results.items()}
    final = {name: np.median([one.final for one in found]) for name, found in results.items()}
    assert regret["early"] > regret["later"]
    assert final["early"] < final["later"]


def test_a_simulated_search_says_nothing(
    archive: ArchiveCurves, surrogate: Surrogate, caplog: pytest.LogCaptureFixture
) -> None:
    adaptive = changed(scheduler={"kind": "adaptive"})
    found = simulate(adaptive, surrogate, archive, seed=0, at_once=1)
    # A real one would say at which epoch its first rung is.
    assert found.ends.get("pruned")
    assert not caplog.records


def test_the_agreement_of_the_order_grows_with_the_epochs(archive: ArchiveCurves) -> None:
    found = agreement_by_epoch(archive)
    assert list(found) == list(range(1, FILE.base.num_epochs))
    whole = [archive.curves[row].values_E for row in archive.own if not archive.curves[row].diverged]
    for epoch in (1, FILE.base.num_epochs - 1):
        first = [values[epoch - 1] for values in whole]
        assert found[epoch] == rank_agreement(first, [values[-1] for values in whole])
    assert found[1].tau < found[FILE.base.num_epochs - 1].tau


def test_the_time_of_a_search_ends_it(archive: ArchiveCurves, surrogate: Surrogate) -> None:
    seconds = simulate(FILE, surrogate, archive, seed=1, at_once=1).total_seconds
    bound = changed(budget={"trials": 12, "hours": seconds / 3600 / 2})
    half = simulate(bound, surrogate, archive, seed=1, at_once=1)
    assert seconds / 2 <= half.total_seconds < seconds / 2 + 30
    assert 2 * seconds / 3 > simulate(FILE, surrogate, archive, seed=1, at_once=2).total_seconds


def test_a_baseline_outside_the_space_has_its_curve_of_the_archive(tmp_path: Path) -> None:
    file = changed(baselines=[{"name": "plain", "values": {"loss.objective": "bce"}}])
    own = rows(file, 20)
    config = file.base.with_values({"loss.objective": "bce", "seed": 7})
    plain = [
        row | {"trial": 99, "config": json.dumps(config.model_dump(mode="json")), "val/mAP": 0.9 + row["epoch"] / 100}
        for row in own[:6]
    ]
    write_archive(to_table([*own, *plain], "the test"), tmp_path / "a.parquet")
    archive = select_curves(read_archive(tmp_path / "a.parquet"), file, "the archive")
    assert (len(archive.points), archive.skipped) == (20, 1)
    found = simulate(file, Surrogate(archive, file), archive, seed=0, at_once=1)
    assert found.final == pytest.approx(0.96)


def test_paths_are_encoded_as_the_samplers_see_them() -> None:
    file = parse_search_file(
        (SEARCH + "  ")
        .replace(
            "space:\n",
            "space:\n"
            "  loss.reconstruction_weight: {kind: loguniform, low: 0.01, high: 1, zero: true}\n"
            "  model.kernel: {kind: choice, choices: [isotropic, anisotropic]}\n"
            "  model.reduced_dim: {kind: int, low: 16, high: 64, log: true, when: {model.kernel: anisotropic}}\n",
        )
        .encode(),
        "x.yaml",
    )
    flat = file.base.flat()
    point = {path: flat[path] for path in file.space} | {"loss.reconstruction_weight": 0.0}
    first = encode(point, file)
    # 0 has a place of its own below the range; a path whose condition does not hold is the same for all values.
    assert 0 < first[0] < 0.25
    assert (first == encode(point | {"model.reduced_dim": 16}, file)).all()
    other = encode(point | {"model.kernel": "anisotropic", "model.reduced_dim": 32}, file)
    assert other[1:4].tolist() == [0.0, 1.0, pytest.approx(0.5)]


def refused(tmp_path: Path, table_rows: list[dict[str, Any]], *words: object, text: str = SEARCH) -> str:
    write_archive(to_table(table_rows, "the test"), tmp_path / "a.parquet")
    (tmp_path / "f.yaml").write_text(text)
    out = tmp_path / "page.html"
    done = kmcl("replay", tmp_path / "f.yaml", "--archive", tmp_path / "a.parquet", "--out", out, *words)
    assert done.exit_code == 2, done.output
    assert done.output.count("\n") == 1
    assert not out.exists()
    return done.output


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    good = rows(FILE, 20)
    other_metric = [
        {name: value for name, value in row.items() if name != "val/mAP"} | {"val/CF1": 0.1} for row in good
    ]
    assert "got no column 'val/mAP'; valid: an archive with the objective" in refused(tmp_path, other_metric)
    message = refused(tmp_path, good, text=SEARCH.replace("lr: 1e-3}", "lr: 1e-3, weight_decay: 0.3}"))
    assert (
        "got 0 whole trials of the space of 'formula' (the first that is not: optim.weight_decay 0.0001, where"
        in message
    )
    assert "got 0 whole trials" in refused(tmp_path, good, text=SEARCH.replace("num_epochs: 6", "num_epochs: 7"))
    assert "got 0 whole trials of the space" in refused(
        tmp_path, good, text=SEARCH.replace("low: 1e-4, high: 1e-1", "low: 9e-4, high: 1.1e-3")
    )
    one = [row for row in good if row["trial"] == 0]
    assert "got 1 whole trial of the space of 'formula'; valid: at least 10" in refused(tmp_path, one)
    two = [row | {"dataset_hash": str(row["trial"] % 2) * 64} for row in good]
    assert "got 2 datasets (['formula 00000000', 'formula 11111111']); valid: trials on one dataset" in refused(
        tmp_path, two
    )


def test_trials_whose_configuration_cannot_be_read_are_others(tmp_path: Path) -> None:
    good = rows(FILE, 20)
    for row in good:
        config = json.loads(row["config"])
        if row["trial"] < 3:
            row["config"] = json.dumps(config | {"plugins": {"absent": "f" * 64}})
    archive = select_curves(to_table(good, "the test"), FILE, "the test")
    assert (archive.skipped, len(archive.curves)) == (3, len({row["trial"] for row in good}) - 3)
    message = refused(tmp_path, [row for row in good if row["trial"] < 5])
    assert "(the first that is not: plugins.absent: got ffffffffffff, whose code is not here; valid: " in message


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    good = rows(FILE, 20)
    for words, message in (
        (["--at-once", 13], "trials at once: got 13; valid: at most 12, the trials of 'this file'"),
        (["--compare", "{space: {}}"], "--compare: got '{space: {}}'; valid: a YAML mapping with scheduler, sampler"),
        (["--compare", "random"], "--compare: got 'random'; valid: a YAML mapping with"),
        (["--compare", "{sampler: {kind: best}}"], "sampler.kind: got 'best'; valid: "),
        (["--searches", "0"], "Invalid value for '--searches'"),
    ):
        assert message in refused(tmp_path, good, *words)
    arms = SEARCH + "arms:\n  a: {loss.objective: bce}\n  b: {loss.objective: kmcl}\n"
    assert "arms: got a, b; valid: a file without arms, one search" in refused(tmp_path, good, text=arms)


@pytest.mark.story
def test_the_command_compares_settings_and_writes_a_page(tmp_path: Path) -> None:
    write_synthetic(tmp_path, FILE, seeds=3)
    (tmp_path / "f.yaml").write_text(SEARCH)
    words = ["replay", tmp_path / "f.yaml", "--archive", tmp_path / "formula.parquet", "--searches", 8]
    words += ["--compare", "{sampler: {kind: qmc}}", "--out", tmp_path / "page.html", "--json"]
    done = kmcl(*words)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    names = [one["setting"] for one in document["settings"]]
    assert names == ["this file", "without early stopping", "random, without early stopping", "{sampler: {kind: qmc}}"]
    own, whole, random, _ = document["settings"]
    assert own["epochs"] < whole["epochs"] == random["epochs"] == 72
    assert document["target"] == pytest.approx(random["best"])
    assert (
        max(one["best"] for one in document["settings"])
        < final_value(FILE.base.with_values({"optim.lr": 1e-2, "loss.temperature": 0.4})) + 4 * NOISE
    )
    page = (tmp_path / "page.html").read_text()
    assert all(name in page for name in names[:3]) and "http://" not in page.split("<main>")[1]
    again = kmcl(*words, "--overwrite")
    assert json.loads(again.stdout) == document
    assert "which exists; valid: a new file, or --overwrite" in kmcl(*words).output
