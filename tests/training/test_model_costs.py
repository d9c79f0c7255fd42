"""What a model costs, measured before it trains."""

from pathlib import Path

import pytest
import torch

from kmcl_platform.config.reports.costs import COSTS
from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.errors import TooCostly
from kmcl_platform.training.build import build_model
from kmcl_platform.training.costs import model_costs
from kmcl_platform.training.costs.model_costs import measure_costs
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers.distributed import Workers

WORKERS = Workers(0, 1, torch.device("cpu"))


def config_for(manifest: Path, **values: object) -> TrialConfig:
    given = {"data.source": str(manifest), "data.image_size": 32, "data.batch_size": 32, "num_epochs": 2}
    return TrialConfig().with_values(given | {name.replace("__", "."): one for name, one in values.items()})  # type: ignore[arg-type]


def test_parameters_and_operations_are_those_of_the_network(small_manifest: Path) -> None:
    manifest = read_manifest(small_manifest)
    config = config_for(small_manifest)
    found = measure_costs(config, manifest, WORKERS, COSTS, {}, on_cpu=True)
    network = build_model(config, len(manifest.class_names))
    assert found["params_millions"] == pytest.approx(sum(one.numel() for one in network.parameters()) / 1e6)
    assert 0 < found["gflops"] < 1
    assert 0 < found["latency_ms"] < 10_000
    # Four times the pixels: nearly all operations are convolutions.
    larger = measure_costs(
        config_for(small_manifest, data__image_size=64), manifest, WORKERS, ["gflops"], {}, on_cpu=True
    )
    assert larger["gflops"] / found["gflops"] == pytest.approx(4, rel=0.1)


def test_nothing_is_measured_unless_it_is_wanted(small_manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_costs, "build_model", None)
    manifest = read_manifest(small_manifest)
    assert measure_costs(config_for(small_manifest), manifest, WORKERS, [], {}, on_cpu=True) == {}


def test_a_model_above_a_limit_ends_before_it_trains(small_manifest: Path, tmp_path: Path) -> None:
    manifest, config = read_manifest(small_manifest), config_for(small_manifest)
    with pytest.raises(TooCostly) as error:
        fit(
            config, manifest, checkpoints=tmp_path, report=lambda one: pytest.fail("it trained"), workers=WORKERS,
            costs=["params_millions"], limits={"params_millions": 0.01},
        )  # fmt: skip
    assert error.value.costs["params_millions"] > 0.01
    assert not list(tmp_path.iterdir())


def test_each_report_has_the_costs_and_a_continued_trial_keeps_them(
    small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, config = read_manifest(small_manifest), config_for(small_manifest)
    times = iter([3.0, 5.0])
    monkeypatch.setattr(model_costs, "_time", lambda *_: next(times))

    def train(epochs: int) -> list[EpochReport]:
        reports: list[EpochReport] = []

        def report(one: EpochReport) -> bool:
            reports.append(one)
            return one.epoch < epochs

        fit(config, manifest, checkpoints=tmp_path, report=report, workers=WORKERS, costs=COSTS)
        return reports

    train(1)
    reports = train(2)
    assert [one.metrics["latency_ms"] for one in reports] == [3.0, 3.0], "it was measured once"
    assert reports[0].metrics["params_millions"] == reports[1].metrics["params_millions"] > 0


def test_measuring_changes_no_number_of_the_training(small_manifest: Path, tmp_path: Path) -> None:
    manifest, config = read_manifest(small_manifest), config_for(small_manifest)
    losses = []
    for name, costs in (("without", ()), ("with", COSTS)):
        reports: list[EpochReport] = []
        fit(
            config,
            manifest,
            checkpoints=tmp_path / name,
            report=lambda one, found=reports: found.append(one) or True,  # type: ignore[misc]
            workers=WORKERS,
            costs=costs,
        )
        losses.append([one.metrics["train/loss"] for one in reports])
    assert losses[0] == losses[1]
