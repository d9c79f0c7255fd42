"""How many trials run at the same time."""

import pytest

from kmcl_platform.config.reports.measurement import Measurement
from kmcl_platform.config.search_parts import Resources
from kmcl_platform.errors import ResourceError
from kmcl_platform.search.cluster.resources import (
    count_concurrent_trials,
    count_trials_in_memory,
    list_types,
    note_unused_gpus,
    parse_nodes,
    turn_seconds,
)


@pytest.mark.parametrize(
    ("nodes", "resources", "expected"),
    [
        ([{"CPU": 2}], Resources(workers_per_trial=2), 1),
        ([{"CPU": 8}], Resources(workers_per_trial=2), 4),
        ([{"CPU": 8}], Resources(workers_per_trial=2, max_concurrent_trials=3), 3),
        # A worker cannot be spread over nodes: 3 + 3 CPUs hold two workers of 2 CPUs, not three.
        ([{"CPU": 3}, {"CPU": 3}], Resources(workers_per_trial=2, cpus_per_worker=2), 1),
        ([{"CPU": 16, "GPU": 4}], Resources(workers_per_trial=2, gpus_per_worker=1), 2),
        ([{"CPU": 1}], Resources(workers_per_trial=3, cpus_per_worker=0.1), 3),
        ([{"CPU": 4}, {}], Resources(workers_per_trial=1), 4),
        ([{"CPU": 9, "GPU": 2}], Resources(gpus_per_worker=0.4), 4),
        ([{"CPU": 30, "GPU": 2}], Resources(gpus_per_worker=0.1), 20),
    ],
)
def test_the_number_of_trials_is_that_of_the_whole_workers_that_fit(
    nodes: list[dict[str, float]], resources: Resources, expected: int
) -> None:
    assert count_concurrent_trials(nodes, resources) == expected


def test_a_trial_that_does_not_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(ResourceError, match=r"needs 4 workers of 1 CPU and 0 GPU = 4 CPU .* holds 2 such workers"):
        count_concurrent_trials([{"CPU": 2}], Resources(workers_per_trial=4))


def test_a_cluster_that_grows_declares_its_largest_set_of_nodes() -> None:
    assert parse_nodes("2x8/1, 1x64/4") == [{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}, {"CPU": 64, "GPU": 4}]
    assert count_concurrent_trials(parse_nodes("8x8/1"), Resources(cpus_per_worker=4, gpus_per_worker=1)) == 8


@pytest.mark.parametrize(
    ("nodes", "resources", "expected"),
    [
        ([{"CPU": 8}], Resources(share=0.5), 4),
        ([{"CPU": 8}], Resources(share=0.49), 3),
        ([{"CPU": 8}], Resources(share=1), 8),
        ([{"CPU": 10}], Resources(share=0.7), 7),
        # Never less than one trial.
        ([{"CPU": 8}], Resources(share=0.01, workers_per_trial=8), 1),
        # Of the GPUs too: 2 of 4.
        ([{"CPU": 64, "GPU": 4}], Resources(share=0.5, gpus_per_worker=1), 2),
        ([{"CPU": 8}], Resources(share=0.5, max_concurrent_trials=3), 3),
        (parse_nodes("2x8/2:A100,4x8/4:T4"), Resources(share=0.5, gpus_per_worker=1, accelerator_type="A100"), 2),
    ],
)
def test_a_search_has_its_share_of_the_nodes_that_it_may_use(
    nodes: list[dict[str, float]], resources: Resources, expected: int
) -> None:
    assert count_concurrent_trials(nodes, resources) == expected


def test_the_length_of_a_turn_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KMCL_TURN_SECONDS", raising=False)
    assert turn_seconds() == 120
    monkeypatch.setenv("KMCL_TURN_SECONDS", "1.5")
    assert turn_seconds() == 1.5
    monkeypatch.setenv("KMCL_TURN_SECONDS", "-1")
    with pytest.raises(ResourceError, match="KMCL_TURN_SECONDS: got '-1'; valid: a number of seconds, 0 or more"):
        turn_seconds()


MIXED = parse_nodes("2x8/2:A100,1x8/4:T4,1x64/0")


@pytest.mark.parametrize(("wanted", "expected"), [(None, 8), ("A100", 4), ("T4", 4)])
def test_only_nodes_with_the_wanted_type_of_gpu_count(wanted: str | None, expected: int) -> None:
    assert list_types(MIXED) == ["A100", "T4"]
    assert count_concurrent_trials(MIXED, Resources(gpus_per_worker=1, accelerator_type=wanted)) == expected


@pytest.mark.parametrize(
    ("nodes", "valid"),
    [(MIXED, "A100, T4"), ([{"CPU": 2}], "no value, because the cluster has no GPU whose type Ray knows")],
)
def test_a_type_of_gpu_that_no_node_has_is_refused(nodes: list[dict[str, float]], valid: str) -> None:
    with pytest.raises(ResourceError) as refused:
        count_concurrent_trials(nodes, Resources(gpus_per_worker=1, accelerator_type="H100"))
    assert str(refused.value) == (
        f"resources.accelerator_type: got 'H100', which no node of the cluster has; valid: {valid}"
    )


@pytest.mark.parametrize("text", ["8", "8x8/1:", "8x8", "8x8/one", "8x8/1;2x4/0", ","])
def test_a_declaration_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ResourceError, match="KMCL_CLUSTER_NODES: got .* valid: COUNTxCPUS/GPUS"):
        parse_nodes(text)


@pytest.mark.parametrize(
    ("node", "resources", "device", "peak", "expected"),
    [
        # Five workers of 2 bytes fit into 10 bytes: two trials of two workers. The CPUs would be enough for four.
        ({"CPU": 8, "memory": 10}, Resources(workers_per_trial=2), "cpu", 2, 2),
        ({"CPU": 4, "memory": 100}, Resources(workers_per_trial=2), "cpu", 2, 2),
        # The measured trial did run, so one fits.
        ({"CPU": 8, "memory": 10}, Resources(workers_per_trial=2), "cpu", 9, 1),
        # A worker has a quarter of a GPU, but needs more than a third of its memory: two fit on each GPU.
        ({"CPU": 8, "GPU": 2}, Resources(gpus_per_worker=0.25), "cuda", 35, 4),
        ({"CPU": 8, "GPU": 2}, Resources(gpus_per_worker=0.25), "cuda", 20, 8),
    ],
)
def test_memory_limits_the_number_of_trials(
    node: dict[str, float], resources: Resources, device: str, peak: int, expected: int
) -> None:
    measured = Measurement.model_validate(
        {"device": device, "peak_bytes": peak, "device_bytes": 100, "setup_seconds": 1, "seconds_per_step": 1,
         "steps_per_epoch": 1, "evaluation_seconds": 1, "checkpoint_seconds": 1, "checkpoint_bytes": 1, "average_bytes": 1,
         "first_steps": 1, "total_seconds": 1}
    )  # fmt: skip
    assert count_trials_in_memory([node], resources, measured) == expected


@pytest.mark.parametrize(
    ("nodes", "gpus_per_worker", "begins"),
    [
        ([{"CPU": 8, "GPU": 1}], 0, "1 GPU will not be used: resources.gpus_per_worker is 0"),
        ([{"CPU": 8, "GPU": 4}, {"CPU": 8, "GPU": 4}], 0, "8 GPUs will not be used"),
        ([{"CPU": 8, "GPU": 1}], 0.5, ""),
        ([{"CPU": 8}], 0, ""),
    ],
)
def test_gpus_that_no_trial_uses_are_named(nodes: list[dict[str, float]], gpus_per_worker: float, begins: str) -> None:
    note = note_unused_gpus(nodes, Resources(gpus_per_worker=gpus_per_worker))
    assert note.startswith(begins)
    assert bool(note) == bool(begins)
