"""A worker whose node is drained."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import ray

from kmcl_platform.search.run.on_ray import drain
from kmcl_platform.training.breaks import ToldToEnd
from kmcl_platform.training.workers import notice
from tests.support.waiting import wait_until


@pytest.fixture
def draining(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The nodes that Ray drains; this worker's node is `here`."""
    nodes: set[str] = set()
    monkeypatch.setattr(drain, "SECONDS_BETWEEN", 0.01)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "here"))
    monkeypatch.setattr(ray._private.state.state, "get_draining_nodes", lambda: dict.fromkeys(nodes, 0))
    yield nodes
    # The watching thread ends when a training has taken the notice.
    nodes.add("here")
    with notice.training():
        wait_until(lambda: not any(thread.name == "drain of the node" for thread in threading.enumerate()))
    notice.forget()
    drain._drained.clear()


def test_a_training_is_told_and_no_trial_begins(draining: set[str]) -> None:
    drain.watch()
    with notice.training():
        draining.add("another")
        drain.leave_if_drained()
        assert not notice.is_given()
        draining.add("here")
        wait_until(notice.is_given)
    with pytest.raises(ToldToEnd, match="drains the node"):
        drain.leave_if_drained()


def test_a_drain_between_trials_is_told_to_the_next_training(draining: set[str]) -> None:
    draining.add("here")
    drain.watch()
    wait_until(drain._drained.is_set)
    assert not notice.is_given()
    with notice.training():
        wait_until(notice.is_given)


def test_a_head_that_is_away_drains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ray.exceptions.RpcError("away")

    monkeypatch.setattr(ray._private.state.state, "get_draining_nodes", fail)
    assert not drain.is_drained("here")
