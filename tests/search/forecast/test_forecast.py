"""The numbers of a forecast, compared with numbers by hand and with Optuna's own pruners."""

import random
import statistics
from pathlib import Path
from typing import Any

import optuna
import pytest

from kmcl_platform.components.schedulers.hyperband import Hyperband
from kmcl_platform.components.schedulers.none import NoStopping
from kmcl_platform.components.schedulers.successive_halving import SuccessiveHalving
from kmcl_platform.config.reports.measurement import Measurement
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import SearchError
from kmcl_platform.plugins import Scheduler
from kmcl_platform.search.forecast.costs import Costs, Range, checkpoint_share, mix_costs, to_costs
from kmcl_platform.search.forecast.expected_trials import expected_front, expected_trials
from kmcl_platform.search.forecast.forecast import build_forecast, fingerprint, read_forecast
from kmcl_platform.search.forecast.score import describe, to_metrics
from kmcl_platform.search.plan.plan import refuse_room

HALVING = SuccessiveHalving(min_epochs=1, reduction_factor=2)
COSTS = Costs(
    epoch_seconds=Range(low=9, expected=19, high=39),
    epoch_overhead_seconds=Range(low=1, expected=1, high=1),
    trial_seconds=Range(low=5, expected=5, high=5),
    checkpoint_bytes=Range(low=10, expected=20, high=40),
    average_bytes=Range(low=2, expected=4, high=8),
    start_seconds=30,
)


def search(*, scheduler: str = "none", trials: int = 4, gpus: float = 0, **budget: Any) -> SearchFile:
    return SearchFile.model_validate(
        {
            "name": "small",
            "base": {"num_epochs": 4},
            "space": {"loss.temperature": {"kind": "uniform", "low": 0.1, "high": 1}},
            "baselines": [],
            "budget": {"trials": trials, **budget},
            "scheduler": {"kind": scheduler},
            "resources": {"workers_per_trial": 2, "gpus_per_worker": gpus},
        }
    )


def test_expected_epochs_are_those_computed_by_hand() -> None:
    # At epoch 1, the first trial continues with probability 1, and the second one with 1/2. At epoch 2, the second one is
    # half a trial, so 1.5 trials have arrived, and one of them continues.
    assert HALVING.expected_epochs(4, 2) == pytest.approx(2 * 1 + (1 + 1 / 2) * 1 + (1 + 1 / 2 / 1.5) * 2)
    assert NoStopping().expected_epochs(4, 3) == 12
    assert HALVING.expected_epochs(1, 3) == 3
    assert HALVING.fewest_epochs(4, 3) == 4 + 2 * 1
    assert NoStopping().fewest_epochs(4, 3) == 12


@pytest.mark.parametrize(
    ("scheduler", "num_epochs", "num_trials"),
    [
        (SuccessiveHalving(min_epochs=1, reduction_factor=4), 6, 12),
        (HALVING, 8, 20),
        (Hyperband(min_epochs=1, reduction_factor=3), 9, 24),
    ],
)
def test_expected_epochs_are_as_many_as_optuna_trains(scheduler: Scheduler, num_epochs: int, num_trials: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def run(seed: int) -> int:
        values = random.Random(seed)
        pruner = scheduler.build_pruner(num_epochs)
        study = optuna.create_study(study_name=str(seed), direction="maximize", pruner=pruner)
        total = 0
        for _ in range(num_trials):
            trial = study.ask()
            for epoch in range(1, num_epochs + 1):
                trial.report(values.random(), epoch)
                total += 1
                if epoch < num_epochs and trial.should_prune():
                    break
            study.tell(trial, values.random())
        return total

    trained = [run(seed) for seed in range(60)]
    error = statistics.stdev(trained) / len(trained) ** 0.5
    assert scheduler.expected_epochs(num_epochs, num_trials) == pytest.approx(
        statistics.mean(trained), abs=4 * error + 0.03 * statistics.mean(trained)
    )
    assert scheduler.fewest_epochs(num_epochs, num_trials) <= min(trained) + num_epochs


def test_the_forecast_without_early_stopping_is_that_by_hand() -> None:
    forecast = build_forecast(search(), COSTS, 1)
    # 4 trials of 4 epochs: 30 + 4 (5 + 4 · 10), 30 + 4 (5 + 4 · 20), 30 + 4 (5 + 4 · 40) seconds.
    assert [3600 * hours for hours in (forecast.hours.low, forecast.hours.expected, forecast.hours.high)] == [
        pytest.approx(seconds) for seconds in (210, 370, 690)
    ]
    assert forecast.epochs == Range(low=16, expected=16, high=16)
    # At least one trial of full length, otherwise the best three; and two checkpoints of the trial that runs.
    assert forecast.disk_bytes == Range(low=2, expected=3 * 4, high=3 * 8)
    assert forecast.peak_disk_bytes == 3 * 8 + 2 * 40
    # With a checkpoint within the epoch, which takes 39 seconds at most.
    long = search()
    long = long.model_copy(update={"resources": long.resources.model_copy(update={"checkpoint_minutes": 0.6})})
    assert build_forecast(long, COSTS, 1).peak_disk_bytes == 3 * 8 + 3 * 40
    assert build_forecast(search(checkpoints=9), COSTS, 1).disk_bytes.high == 4 * 8
    assert forecast.gpu_hours == Range(low=0, expected=0, high=0)
    assert forecast.ends_by == "budget.trials"


def test_simultaneous_trials_of_one_length_run_in_rounds() -> None:
    assert 3600 * build_forecast(search(), COSTS, 2).hours.expected == pytest.approx(30 + 2 * 85)
    assert 3600 * build_forecast(search(trials=5), COSTS, 2).hours.expected == pytest.approx(30 + 3 * 85)
    # More places than trials: the search takes as long as one trial.
    assert 3600 * build_forecast(search(), COSTS, 9).hours.expected == pytest.approx(30 + 85)


def test_the_forecast_with_halving_is_that_by_hand() -> None:
    forecast = build_forecast(search(scheduler="successive_halving", trials=2), COSTS, 1)
    # Fewest: one trial of 4 epochs, one of 1. Expected: as above. Most: two of 4.
    epochs = 2 + 1.5 + 2 * (4 / 3)
    assert (forecast.epochs.low, forecast.epochs.high) == (5, 8)
    assert forecast.epochs.expected == pytest.approx(epochs)
    assert 3600 * forecast.hours.low == pytest.approx(30 + 2 * 5 + 5 * 10)
    assert 3600 * forecast.hours.expected == pytest.approx(30 + 2 * 5 + epochs * 20)
    assert 3600 * forecast.hours.high == pytest.approx(30 + 2 * 5 + 8 * 40)
    # With a place for each trial, the search takes as long as the trial that is never stopped.
    assert 3600 * build_forecast(search(scheduler="successive_halving", trials=2), COSTS, 2).hours.expected == (
        pytest.approx(30 + 5 + 4 * 20)
    )


def test_money_is_the_price_of_all_places_and_may_end_the_search() -> None:
    def priced(**budget: float) -> SearchFile:
        file = search()
        resources = file.resources.model_copy(update={"price_per_hour": 36.0})
        return file.model_copy(update={"resources": resources, "budget": file.budget.model_copy(update=budget)})

    forecast = build_forecast(priced(), COSTS, 2)
    assert forecast.money.expected == pytest.approx(36 * 2 * forecast.hours.expected)
    assert build_forecast(search(), COSTS, 2).money == Range(low=0, expected=0, high=0)
    found = build_forecast(priced(money=forecast.money.expected / 2), COSTS, 2)
    assert (found.ends_by, found.trials.expected) == ("budget.money", pytest.approx(2))
    happened = {"hours": 1.0, "gpu_hours": 0.0, "money": 7.0, "disk_bytes": 12.0, "epochs": 16.0}
    assert f"; money 7 of {forecast.money.expected:.3g}; " in describe(forecast, happened)


def test_gpu_hours_count_training_on_all_gpus_of_a_trial() -> None:
    forecast = build_forecast(search(gpus=1), COSTS, 1)
    assert 3600 * forecast.gpu_hours.expected == pytest.approx(16 * 19 * 2)
    assert build_forecast(search(gpus=1), COSTS, 4).gpu_hours == forecast.gpu_hours


def test_the_budget_that_is_spent_first_ends_the_search() -> None:
    # Without a bound: 370 seconds and, on 2 GPUs, 608 GPU-seconds.
    half = build_forecast(search(hours=185 / 3600), COSTS, 1)
    assert (half.ends_by, half.hours.expected) == ("budget.hours", pytest.approx(185 / 3600))
    assert (half.trials.expected, half.epochs.expected) == (pytest.approx(2), pytest.approx(8))
    # Of the cheapest trials, most fit into the time.
    assert half.trials.low < half.trials.expected < half.trials.high
    quarter = build_forecast(search(gpus=1, hours=185 / 3600, gpu_hours=152 / 3600), COSTS, 1)
    assert (quarter.ends_by, quarter.trials.expected) == ("budget.gpu_hours", pytest.approx(1))
    ample = build_forecast(search(gpus=1, hours=10, gpu_hours=10), COSTS, 1)
    assert (ample.ends_by, ample.trials.expected) == ("budget.trials", 4)


def test_patience_can_end_a_search_after_its_first_trials() -> None:
    forecast = build_forecast(search(trials=10, patience=3), COSTS, 1)
    assert forecast.ends_by == "budget.patience"
    assert (forecast.trials.low, forecast.trials.high) == (4, 10)
    assert forecast.trials.expected == pytest.approx(expected_trials(10, 3))


def measurement(seconds_per_step: float, **values: Any) -> Measurement:
    return Measurement(
        device="cpu", setup_seconds=1, seconds_per_step=seconds_per_step, steps_per_epoch=10, evaluation_seconds=2,
        checkpoint_seconds=0.5, checkpoint_bytes=100, average_bytes=30, peak_bytes=1, first_steps=3, total_seconds=5, **values,
    )  # fmt: skip


def test_costs_range_over_the_corners_and_expect_those_in_the_middle() -> None:
    measured = [
        ("high", measurement(4)),
        ("middle", measurement(2)),
        ("middle", measurement(3)),
        ("low", measurement(1)),
    ]
    costs = to_costs(measured, 7)  # type: ignore[arg-type]
    assert costs.epoch_seconds == Range(low=12, expected=27, high=42)
    assert costs.start_seconds == 7
    assert to_costs([("high", measurement(4))], 7).epoch_seconds == Range(low=42, expected=42, high=42)


def test_times_on_two_types_of_gpus_are_those_of_the_cluster() -> None:
    slow = COSTS.model_copy(update={"epoch_seconds": Range(low=36, expected=57, high=78), "start_seconds": 90})
    mixed = mix_costs([(COSTS, 3), (slow, 1)])
    # In 57 seconds, three fast places train three epochs each, and the slow one trains one: ten on four places.
    assert mixed.epoch_seconds.expected == pytest.approx(4 * 57 / 10)
    assert (mixed.start_seconds, mixed.checkpoint_bytes) == (90, COSTS.checkpoint_bytes)
    assert mixed.trial_seconds.expected == pytest.approx(5)
    assert mix_costs([(slow, 1)]) is slow


def test_a_trial_on_features_writes_fewer_checkpoints() -> None:
    assert checkpoint_share(search()) == 1
    frozen = search().base.with_values({"model.backbone_mode": "frozen", "model.pretrained": True, "num_epochs": 10})
    # Rungs at 1, 2, 4 and 8, and the end.
    file = search().model_copy(update={"base": frozen, "scheduler": HALVING})
    assert checkpoint_share(file) == pytest.approx(0.5)
    found = [("high", measurement(4))]
    whole, half = (to_costs(found, 7, checkpoint_share=share).epoch_overhead_seconds for share in (1.0, 0.5))  # type: ignore[arg-type]
    assert whole.high - half.high == pytest.approx(measurement(4).checkpoint_seconds / 2)


def test_a_forecast_is_read_back_and_is_valid_for_its_file_only(tmp_path: Path) -> None:
    forecast = build_forecast(search(), COSTS, 1)
    path = tmp_path / "plans" / "small.json"
    assert read_forecast(path) is None
    path.parent.mkdir()
    path.write_text(forecast.model_dump_json())
    assert read_forecast(path) == forecast
    assert forecast.fingerprint == fingerprint(search()) != fingerprint(search(trials=5))
    path.write_text("{}")
    with pytest.raises(SearchError, match=r"small\.json: not a forecast"):
        read_forecast(path)


def test_a_score_divides_the_measured_values_by_the_forecast() -> None:
    forecast = build_forecast(search(), COSTS, 1)
    happened = {"hours": 185 / 3600, "gpu_hours": 0.0, "disk_bytes": 12.0, "epochs": 16.0, "epoch_seconds": 38.0}
    metrics = to_metrics(forecast, happened)
    assert metrics["forecast/hours"] == pytest.approx(370 / 3600)
    assert metrics["forecast/hours_ratio"] == pytest.approx(0.5)
    assert metrics["forecast/hours_within_range"] == 0
    assert metrics["forecast/epoch_seconds_ratio"] == pytest.approx(2)
    assert metrics["forecast/epoch_seconds_within_range"] == 1
    assert "forecast/gpu_hours_ratio" not in metrics
    assert describe(forecast, happened) == (
        "forecast of small: took 3.1 min, 0.50 of the 6.2 min forecast (outside 3.5 min to 11.5 min); epochs 16 of 16; "
        "seconds per epoch 38.00 of 19.00; disk 1.00 of the forecast"
    )


def test_a_full_disk_or_memory_is_refused_with_the_option_to_change() -> None:
    file = search()
    forecast = build_forecast(file, COSTS, 2)
    needed = 3 * 8 + 2 * 2 * 40
    assert refuse_room(file, forecast, 2, 2, free_bytes=needed) == ""
    refusal = refuse_room(file, forecast, 2, 2, free_bytes=needed - 1)
    assert refusal.startswith("budget.checkpoints: 3 kept and 2 trials at once need up to 1.84e-07 GB, and ")
    assert refuse_room(file, forecast, 2, 1, free_bytes=needed).startswith("resources.max_concurrent_trials: CPUs and ")


@pytest.mark.parametrize(
    ("first", "factor", "num_epochs"), [(1, 3, 243), (1, 10, 1000), (2, 3, 486), (1, 3, 9), (4, 2, 5)]
)
def test_hyperband_is_forecast_with_optunas_brackets(first: int, factor: int, num_epochs: int) -> None:
    """The logarithm of 243 to the base 3 is a little less than 5 for a computer."""
    scheduler = Hyperband(min_epochs=first, reduction_factor=factor)
    pruner = scheduler.build_pruner(num_epochs)
    pruner._try_initialization(optuna.create_study())  # type: ignore[attr-defined]
    assert [rung for _, rung in scheduler._brackets(num_epochs)] == [
        one._min_resource * factor**one._min_early_stopping_rate
        for one in pruner._pruners  # type: ignore[attr-defined]
    ]


def test_the_checkpoints_of_trade_offs_are_forecast() -> None:
    file = search(trials=10)
    both = [file.objective, file.objective.model_copy(update={"metric": "gflops", "mode": "minimize"})]
    forecast = build_forecast(file.model_copy(update={"objectives": tuple(both)}), COSTS, 1)
    # The best three, and the trade-offs beside the best one; at most all ten.
    expected = 3 + expected_front(10, 2) - 1
    assert forecast.disk_bytes.model_dump() == pytest.approx({"low": 2, "expected": 4 * expected, "high": 10 * 8})
    assert forecast.peak_disk_bytes == pytest.approx(8 * expected + 2 * 40)
