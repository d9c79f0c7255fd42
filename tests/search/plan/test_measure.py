"""A plan on a cluster with several types of GPUs measures each of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmcl_platform.config.reports.measurement import Measurement
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_parts import Resources
from kmcl_platform.search.cluster.resources import parse_nodes
from kmcl_platform.search.plan.measure import resources_to_measure
from kmcl_platform.search.plan.probe_points import Corner, TriedCorner
from tests.support.command_line import kmcl

MIXED = parse_nodes("1x8/2:A100,1x8/4:T4,1x64/0")
SECONDS = {"A100": 0.1, "T4": 0.4}


def types(**resources: Any) -> list[str | None]:
    return [one.accelerator_type for one in resources_to_measure(MIXED, Resources(**resources))]


def test_it_measures_the_types_on_which_a_trial_fits() -> None:
    assert types(gpus_per_worker=1) == ["A100", "T4"]
    # Three workers fit on the T4s only, or on both types together: one measurement, wherever they are.
    assert types(gpus_per_worker=1, workers_per_trial=3) == [None]
    assert types(gpus_per_worker=1, accelerator_type="T4") == ["T4"]
    assert types(gpus_per_worker=0) == [None]


class Probes:
    """Corners that take the time of their type, without workers."""

    failing = ""
    is_costly: Callable[[Corner], bool] = staticmethod(lambda corner: False)
    start_seconds = 1.0

    def __init__(self, resources: Resources, *_: object) -> None:
        self.type = resources.accelerator_type or ""

    def try_corner(self, _: SearchFile, corner: Corner) -> TriedCorner:
        if self.is_costly(corner):
            broken = f"params_millions 9 breaks the constraint, {corner.level}"
            return TriedCorner(corner, None, "", broken, {"params_millions": 9.0})
        if self.type == self.failing:
            return TriedCorner(corner, None, "out of memory")
        measured = Measurement(
            device="cuda", setup_seconds=1, seconds_per_step=SECONDS[self.type], steps_per_epoch=10,
            evaluation_seconds=1e-9, checkpoint_seconds=1, checkpoint_bytes=1, average_bytes=1, peak_bytes=1,
            device_bytes=100, first_steps=1, total_seconds=1,
        )  # fmt: skip
        return TriedCorner(corner, measured, "")

    def close(self) -> None: ...


@pytest.fixture
def plan(
    small_search: Callable[..., Path], small_manifest: Path, prepared_store: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:  # fmt: skip
    monkeypatch.setattr("kmcl_platform.search.plan.probe_runner.Prober", Probes)
    for name, replacement in (("start_ray", str), ("stop_ray", str), ("trial_nodes", lambda: MIXED)):
        monkeypatch.setattr(f"kmcl_platform.search.plan.plan.{name}", replacement)
    file = small_search(tmp_path, small_manifest, epochs=4, trials=6)
    assert "workers_per_trial: 2" in file.read_text()
    text = file.read_text().replace("workers_per_trial: 2", "workers_per_trial: 1, gpus_per_worker: 1")
    file.write_text(f"{text}constraints: {{params_millions: <= 2}}\n")
    return lambda *words: kmcl("plan", file, *words, store=prepared_store)


def test_each_type_has_its_corners_and_a_line(plan: Callable[..., Any]) -> None:
    shown = plan()
    assert shown.exit_code == 0, shown.output
    assert "  on A100      1 s per epoch, 2 at once\n  on T4        4 s per epoch, 4 at once\n" in shown.stdout
    assert "corner 1 of 3 on T4" in shown.output
    (document,) = json.loads(plan("--json").stdout)
    assert document["concurrency"] == 6
    assert [one["corners"][0]["measured"]["seconds_per_step"] for one in document["types"]] == [0.1, 0.4]
    assert document["corners"] == document["types"][1]["corners"]
    # In 4 seconds the two A100s train 4 epochs each and the four T4s one each: 12 on 6 places.
    assert document["forecast"]["epoch_seconds"]["expected"] == pytest.approx(4 * 6 / 12)


def test_a_corner_that_fails_on_one_type_is_refused_with_its_name(
    plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Probes, "failing", "T4")
    shown = plan()
    assert shown.exit_code == 2
    assert "on T4: space: the trial " in " ".join(shown.stderr.split())


def test_a_corner_that_breaks_a_constraint_is_shown_and_costs_nothing(
    plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Probes, "is_costly", staticmethod(lambda corner: corner.level == "high"))
    # Such a trial never trains, so that it needs too much memory is no fault.
    shown = plan()
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.stdout.split())
    assert "params_millions 9 breaks the constraint, high" in text
    assert "corners that break a constraint: 1 of 3; such trials end before they train" in text
    (document,) = json.loads(plan("--json").stdout)
    assert [bool(one["refused"]) for one in document["corners"]] == [True, False, False]
    assert document["forecast"]["trials"]["expected"] == 6


def test_a_constraint_that_no_corner_keeps_is_refused(
    plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Probes, "is_costly", staticmethod(lambda corner: True))
    shown = plan()
    assert shown.exit_code == 2
    line = " ".join(shown.stderr.split())
    assert (
        "constraints: none of the 3 corners that were tried keeps them (params_millions is at least 9, not 2)" in line
    )
    assert "valid: larger bounds, or a space with smaller models" in line
    assert "forecast counts" not in shown.stdout


def test_each_choice_is_tried_with_low_numbers_before_constraints_are_refused(
    plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (file,) = tmp_path.glob("*.yaml")
    backbones = "  model.backbone: {kind: choice, choices: [test_resnet, test_byobnet]}"
    file.write_text(file.read_text().replace("space:", f"space:\n{backbones}", 1))

    def is_costly(corner: Corner) -> bool:
        return corner.level != "low" or corner.values["model.backbone"] == "test_resnet"

    monkeypatch.setattr(Probes, "is_costly", staticmethod(is_costly))
    answer = plan("--json")
    assert answer.exit_code == 0, answer.output
    (document,) = json.loads(answer.stdout)
    *broken, last = document["corners"]
    assert all(one["refused"] for one in broken) and not last["refused"]
    assert (last["level"], last["values"]["model.backbone"]) == ("low", "test_byobnet")
    assert document["forecast"] is not None


def test_the_bound_of_a_failure_is_not_one_that_a_constraint_refuses(
    plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Probes, "is_costly", staticmethod(lambda corner: corner.values["model.kernels_per_class"] == 1))
    monkeypatch.setattr(Probes, "failing", "T4")
    assert "it also fails if only one bound is changed" in " ".join(plan().stderr.split())


def test_a_warm_start_that_the_search_refuses_is_refused(plan: Callable[..., Any], tmp_path: Path) -> None:
    (file,) = tmp_path.glob("*.yaml")
    file.write_text(f"{file.read_text()}warm_start: [nosuch]\n")
    answer = plan()
    assert answer.exit_code == 2
    assert "warm_start: got 'nosuch', which is no search of this store" in " ".join(answer.stderr.split())
