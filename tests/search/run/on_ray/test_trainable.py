"""A trial that ran out of memory beside others on its GPU is tried once more alone."""

from typing import Any

import pytest

from kmcl_platform.config.search_parts import Resources
from kmcl_platform.search.run.on_ray import trainable, turns
from tests.support.waiting import wait_until

FULL = {"failure": "out of memory: CUDA", "out_of_memory": True}


class Group:
    """A group of workers that sends what it is told to."""

    messages: list[dict[str, Any]]
    history: list[tuple[str, float, int]]

    def __init__(self, resources: Resources) -> None:
        self.share = resources.gpus_per_worker
        self.number = -1

    def begin(self, assignment: dict[str, Any]) -> None:
        self.number = assignment["number"]
        self.history.append(("begin", self.share, self.number))

    def next_message(self) -> dict[str, Any]:
        return self.messages.pop(0)

    def close(self) -> None:
        self.history.append(("close", self.share, self.number))


def trial(number: int, share: float, turn: float = 3600) -> dict[str, Any]:
    assignment = {"number": number, "config": {"num_epochs": 2}}
    return {"assignment": assignment, "resources": Resources(gpus_per_worker=share).model_dump(), "turn_seconds": turn}


def run(monkeypatch: pytest.MonkeyPatch, share: float, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of trial 0 until its end; then trial 1 begins."""
    monkeypatch.setattr(trainable, "WorkerGroup", Group)
    Group.messages, Group.history = messages, []
    actor = trainable.WarmTrial.__new__(trainable.WarmTrial)
    actor.setup(trial(0, share))
    results = [actor.step()]
    while not results[-1]["done"]:
        results.append(actor.step())
    actor.reset_config(trial(1, share))
    return results


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> trainable.WarmTrial:
    """An actor whose group has trained trial 0, which takes two epochs."""
    monkeypatch.setattr(trainable, "WorkerGroup", Group)
    monkeypatch.setattr(turns, "wait_for_turn", lambda claim: Group.history.append(("wait", claim.held, 0)))
    Group.messages, Group.history = [{"report": {"epoch": 1}}, {"report": {"epoch": 2}}], []
    actor = trainable.WarmTrial.__new__(trainable.WarmTrial)
    actor.setup(trial(0, 0))
    return actor


KEPT = [("begin", 0, 0), ("begin", 0, 1)]


@pytest.mark.parametrize(
    ("seconds", "claim", "history"),
    [
        (0, turns.Claim("02", "CPU", 0), [KEPT[0], ("close", 0, 0), ("wait", 0, 0), KEPT[1]]),
        (3600, turns.Claim("02", "CPU", 0), KEPT),
        (0, None, KEPT),
    ],
)
def test_after_its_turn_a_group_ends_for_a_search_that_waits(
    seconds: float, claim: turns.Claim | None, history: list[Any], actor: trainable.WarmTrial,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(turns, "find_claim", lambda: claim)
    assert [actor.step()["done"], actor.step()["done"]] == [False, True]
    actor.reset_config(trial(1, 0, turn=seconds))
    assert Group.history == history
    if len(history) > 2:
        assert actor.step() == {
            "note": "its workers ended for another search of this cluster; after 0 s it asked for new ones", "done": False
        }  # fmt: skip
        # Its new workers have not begun: however long it waits for them, its turn is not over.
        actor.reset_config(trial(2, 0, turn=seconds))
        assert Group.history == [*history, ("begin", 0, 2)]


def test_workers_without_a_trial_end_and_the_next_trial_has_new_ones(
    actor: trainable.WarmTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainable, "IDLE_SECONDS", 0.01)
    actor.step()
    wait_until(lambda: ("close", 0, 0) in Group.history, seconds=30)
    # Tune was slow, and the trial goes on: it begins again, from its checkpoint.
    assert actor.step()["done"]
    wait_until(lambda: Group.history.count(("close", 0, 0)) == 2, seconds=30)
    actor.reset_config(trial(1, 0))
    actor.cleanup()
    assert Group.history == [*[KEPT[0], ("close", 0, 0)] * 2, KEPT[1], ("close", 0, 1)]


def test_it_gets_a_whole_gpu_and_the_next_trial_a_share_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, last = run(monkeypatch, 0.5, [dict(FULL), {"report": {"epoch": 1}}, {"report": {"epoch": 2}}])
    assert first["note"] == "out of memory: CUDA; it is tried once more, alone on a GPU"
    assert (second["done"], last["done"]) == (False, True)
    assert Group.history == [
        ("begin", 0.5, 0), ("close", 0.5, 0), ("begin", 1.0, 0), ("close", 1.0, 0), ("begin", 0.5, 1),
    ]  # fmt: skip


def test_the_second_time_it_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    *_, last = run(monkeypatch, 0.5, [dict(FULL), dict(FULL)])
    assert last == {**FULL, "done": True}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_trial_that_shares_no_gpu_has_failed_at_once(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, share, [dict(FULL)]) == [{**FULL, "done": True}]
    assert Group.history == [("begin", share, 0), ("begin", share, 1)]


def test_another_failure_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, 0.5, [{"failure": "no such image"}]) == [{"failure": "no such image", "done": True}]
