"""Archives and settings at the edge: searched components, null, several searches of one seed, searches without an end."""

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from kmcl_platform import replay as run_replay
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.search.replay.archive_curves import select_curves
from kmcl_platform.search.replay.statistics import median_with_interval, quantile_of_searches, share_better
from kmcl_platform.search.replay.surrogate import Surrogate
from kmcl_platform.search.replay.virtual_search import simulate
from kmcl_platform.search.sampling.encoding import encode
from kmcl_platform.tracking.archive.archive_file import write_archive
from kmcl_platform.tracking.archive.schema import to_table
from tests.search.replay.synthetic import FILE, SEARCH, changed, final_value, rows, write_synthetic
from tests.support.command_line import kmcl, start_kmcl
from tests.support.waiting import wait_until

HEADS = parse_search_file(
    SEARCH.replace("space:\n", "space:\n  model.head: {kind: choice, choices: [kernel_mixture, linear]}\n")
    .replace("loss: {temperature: 0.2}", "loss: {objective: bce, temperature: 0.2}")
    .encode(),
    "heads.yaml",
)


def with_values(found: list[dict[str, Any]], file: SearchFile, **values: object) -> list[dict[str, Any]]:
    """The rows with other values in their configurations."""
    changes = {path.replace("__", "."): value for path, value in values.items()}
    configs = [file.base.model_validate(json.loads(row["config"])) for row in found]
    return [
        row | {"config": json.dumps(config.with_values(changes).model_dump(mode="json"))}
        for row, config in zip(found, configs, strict=True)
    ]


def replay(tmp_path: Path, *words: object, text: str = SEARCH) -> Any:
    (tmp_path / "f.yaml").write_text(text)
    archive = tmp_path / "formula.parquet"
    out = ["--out", tmp_path / "page.html", "--overwrite"]
    return kmcl("replay", tmp_path / "f.yaml", "--archive", archive, "--searches", 4, "--at-once", 1, *out, *words)


def test_the_options_of_a_searched_head_belong_to_the_space() -> None:
    found = rows(HEADS, 24)
    half = [row for row in found if row["trial"] < 12]
    other = with_values([row for row in found if row["trial"] >= 12], HEADS, model__head="linear")
    archive = select_curves(to_table([*half, *other], "the test"), HEADS, "the test")
    assert (len(archive.points), archive.skipped) == (24, 0)
    assert {point["model.head"] for point in archive.points} == {"kernel_mixture", "linear"}
    found_search = simulate(HEADS, Surrogate(archive, HEADS), archive, seed=0, at_once=1)
    assert math.isfinite(found_search.final)


def test_a_trial_with_another_head_is_of_another_search() -> None:
    plain = changed(base=HEADS.base.model_dump())
    found = rows(plain, 20)
    other = with_values([row | {"trial": 99} for row in found[:6]], plain, model__head="linear")
    archive = select_curves(to_table([*found, *other], "the test"), plain, "the test")
    assert (len(archive.points), archive.skipped) == (20, 1)


def test_trials_of_another_length_and_stopped_ones_are_counted() -> None:
    found = rows(FILE, 20)
    longer = [row | {"trial": 50 + row["trial"], "num_epochs": 9} for row in found[:12]]
    stopped = [row | {"trial": 90, "outcome": "pruned"} for row in found[:3]]
    archive = select_curves(to_table([*found, *longer, *stopped], "the test"), FILE, "the test")
    assert (len(archive.points), archive.skipped) == (20, 3)


def test_null_has_a_place_beside_a_range() -> None:
    width = "model.projection_width: {kind: int, low: 16, high: 512, log: true, when: {loss.objective: kmcl}}"
    text = SEARCH.replace("space:\n", f"space:\n  loss.objective: {{kind: choice, choices: [kmcl, bce]}}\n  {width}\n")
    text = text.replace("loss: {temperature: 0.2}", "loss: {objective: bce, temperature: 0.2}")
    file = parse_search_file(text.encode(), "width.yaml")
    plain = encode({"loss.objective": "bce", "model.projection_width": None}, file)
    narrow, wide = (encode({"loss.objective": "kmcl", "model.projection_width": number}, file) for number in (16, 512))
    assert (plain[2], narrow[2], wide[2]) == (-0.5, 0.0, 1.0)


def test_two_searches_with_one_seed_say_nothing_about_the_noise_between_seeds() -> None:
    found = rows(FILE, 20)
    again = [row | {"search": "again", "val/mAP": row["val/mAP"] + 0.05} for row in found]
    archive = select_curves(to_table([*found, *again], "the test"), FILE, "the test")
    quality = Surrogate(archive, FILE).quality
    assert (quality.noise, quality.points_with_seeds) == (None, 0)


def test_no_simulated_share_is_above_one() -> None:
    file = changed(base=FILE.base.with_values({"seed": 9}).model_dump())
    found = [row | {"val/mAP": min(1.0, row["val/mAP"] + 0.22)} for row in rows(FILE, 60, seeds=3)]
    archive = select_curves(to_table(found, "the test"), file, "the test")
    surrogate = Surrogate(archive, file)
    best = {"optim.lr": 1.01e-2, "loss.temperature": 0.401}
    assert final_value(file.base.with_values(best)) + 0.22 > 1
    ends = [surrogate.curve(best, np.random.default_rng(seed)).values_E[-1] for seed in range(20)]
    assert max(ends) == 1.0


@pytest.mark.parametrize(
    ("values", "share", "sign", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], 0.5, 1, 0.25),
        # 40 % of the searches have no value: they are the worst ones.
        ([math.nan, math.nan, 0.1, 0.2, 0.3], 0.5, 1, 0.1),
        ([math.nan, math.nan, 0.1, 0.2, 0.3], 0.5, -1, 0.3),
        ([math.nan, math.nan, 0.1, 0.2, 0.3], 0.25, 1, None),
        ([math.nan, math.nan, 0.1, 0.2, 0.3], 0.75, -1, None),
        ([math.nan, math.nan], 0.5, 1, None),
    ],
)
def test_a_search_without_a_value_is_the_worst(
    values: list[float], share: float, sign: int, expected: float | None
) -> None:
    found = quantile_of_searches(np.array(values), share, sign)
    assert found == (None if expected is None else pytest.approx(expected))


def test_searches_in_which_nothing_completes_have_no_numbers(tmp_path: Path) -> None:
    write_synthetic(tmp_path, FILE)
    text = SEARCH.replace("{trials: 12}", "{trials: 12, hours: 0.001}")
    done = replay(tmp_path, "--json", text=text)
    assert done.exit_code == 0 and "Warning" not in done.output, done.output
    document = json.loads(done.stdout)
    assert document["target"] is None
    own = document["settings"][0]
    assert (own["best"], own["quartiles"], own["epochs_to_target"]) == (None, [None, None], None)
    # The search ends when its time is spent, and not with the next report.
    assert own["hours"] == pytest.approx(0.001)
    table = replay(tmp_path, text=text)
    assert "- to -" in table.stdout and "nan" not in table.stdout


def test_trials_that_all_end_equal_have_no_order(tmp_path: Path) -> None:
    found = [row | {"val/mAP": 1.0} for row in rows(FILE, 20)]
    write_archive(to_table(found, "the test"), tmp_path / "formula.parquet")
    done = replay(tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["surrogate"]["order"] is None
    assert "(order: not known, as all trials end equal)" in replay(tmp_path).stdout


def test_a_machine_with_more_places_than_trials_simulates_as_many_as_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_synthetic(tmp_path, FILE)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr("kmcl_platform.search.replay.replay.simulate_many", _stop)
    (tmp_path / "f.yaml").write_text(SEARCH)
    with pytest.raises(RuntimeError, match="^12$"):
        run_replay(tmp_path / "f.yaml", [tmp_path / "formula.parquet"], searches=1)


def _stop(*_: object, at_once: int, **__: object) -> None:
    raise RuntimeError(at_once)


def test_a_page_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    write_synthetic(tmp_path, FILE)
    missing = replay(tmp_path, "--out", tmp_path / "none" / "page.html")
    assert missing.exit_code == 2 and not missing.stdout
    assert f"--out: got {tmp_path}/none/page.html; valid: a path in a folder that exists" in missing.output
    (tmp_path / "link.html").symlink_to(tmp_path / "nothing.html")
    (tmp_path / "f.yaml").write_text(SEARCH)
    words = ["--archive", tmp_path / "formula.parquet", "--out", tmp_path / "link.html"]
    linked = kmcl("replay", tmp_path / "f.yaml", *words)
    assert linked.exit_code == 2 and "which exists; valid: a new file, or --overwrite" in linked.output
    assert (tmp_path / "link.html").is_symlink()


@pytest.mark.story
def test_a_killed_replay_leaves_no_processes(tmp_path: Path) -> None:
    write_synthetic(tmp_path, FILE)
    (tmp_path / "f.yaml").write_text(SEARCH)
    words = ["--archive", tmp_path / "formula.parquet", "--searches", 50_000, "--out", tmp_path / "p.html"]
    process = start_kmcl("replay", tmp_path / "f.yaml", *words, log=tmp_path / "log.txt")
    simulating = wait_until(
        lambda: [one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())],
        seconds=120,
        process=process,
    )
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    wait_until(lambda: not any(one.is_running() for one in simulating), seconds=30)


def test_a_configuration_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    deep = [row | {"config": "[" * 100_000} for row in rows(FILE, 12)]
    write_archive(to_table(deep, "the test"), tmp_path / "formula.parquet")
    done = replay(tmp_path)
    assert done.exit_code == 2 and "column 'config': got '[[[" in done.output and "valid: JSON" in done.output


def test_a_median_has_an_interval_of_values_of_the_list() -> None:
    assert median_with_interval([float(number) for number in range(1, 101)]) == (50, 40, 61)
    assert median_with_interval([5.0, math.inf, 3.0]) == (5, 3, math.inf)


def test_pairs_of_searches_are_compared() -> None:
    ours, own = np.array([0.5, 0.3, math.nan, 0.2]), np.array([0.4, 0.3, 0.1, math.nan])
    assert share_better(ours, own, 1) == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert share_better(ours, own, -1) == pytest.approx((0 + 0.5 + 0 + 1) / 4)


def test_trials_with_another_number_of_workers_are_left_out() -> None:
    found = rows(FILE, 20)
    two = [row | {"trial": 100 + row["trial"], "workers": 2} for row in found[:60]]
    archive = select_curves(to_table([*found, *two], "the test"), FILE, "the test")
    assert (len(archive.points), archive.skipped) == (20, 10)
    most = [row | {"trial": 200 + row["trial"], "workers": 2} for row in rows(FILE, 30)]
    archive = select_curves(to_table([*found, *most], "the test"), FILE, "the test")
    assert (len(archive.points), archive.skipped) == (20, 30)
    # None has the file's number of workers: those of the most frequent one are taken.
    other = [row | {"workers": 2} for row in found[:72]]
    mixed = [*other, *(row | {"workers": 4} for row in found[72:])]
    archive = select_curves(to_table(mixed, "the test"), FILE, "the test")
    assert (len(archive.points), archive.skipped) == (12, 8)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("{sampler: {kind: gp}}", "sampler.kind: got gp with scheduler.kind successive_halving"),
        ("{scheduler: {kind: successive_halving, min_epochs: 1}}", "scheduler.min_epochs: got 1"),
    ],
)
def test_a_setting_that_a_new_search_may_not_have_is_not_simulated(tmp_path: Path, setting: str, message: str) -> None:
    write_synthetic(tmp_path, FILE)
    done = replay(tmp_path, "--compare", setting)
    assert done.exit_code == 2 and message in done.output and done.output.count("\n") == 1


def test_another_sampler_keeps_the_seed_and_the_random_trials_of_the_file() -> None:
    from kmcl_platform.config.search_file_reader import open_source
    from kmcl_platform.search.replay.replay import _with_parts

    file = _with_parts(open_source(FILE), {"sampler": {"kind": "gp"}, "scheduler": {"kind": "none"}})
    assert (file.sampler.name, file.sampler.seed, file.sampler.startup_trials) == ("gp", 1, 4)
