"""Promotions that are killed anywhere, and many promotions at the same time on one MLflow server."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.model.versions import CHAMPION
from kmcl_platform.registry.promotion.alias_moves import NO_CHAMPION, PREVIOUS, read_history, rollback
from tests.registry.promotion.moves import aliases, promote
from tests.support.mlflow_server import MlflowServer
from tests.support.worker_processes import fast_context


class Deadly:
    """A client whose process is killed before its call number `calls`."""

    def __init__(self, client: MlflowClient, calls: int) -> None:
        self._client = client
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls -= 1
            if self._calls < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return getattr(self._client, name)(*args, **kwargs)

        return call


def promote_and_die(address: str, against: str, calls: int) -> None:
    promote(Deadly(MlflowClient(address, address), calls), against)  # type: ignore[arg-type]


@pytest.mark.long
def test_a_promotion_that_is_killed_anywhere_leaves_a_champion_and_a_way_on(
    prepared_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"sqlite:///{prepared_store}/mlflow.db"
    client = MlflowClient(address, address)
    client.create_registered_model("m")
    first = promote(client, NO_CHAMPION)
    champion = promote(client, first)
    monkeypatch.setattr(
        "kmcl_platform.registry.promotion.alias_moves.CLAIM_SECONDS", 0
    )  # nobody waits for the dead here
    context = fast_context(__name__)
    stood = set()
    for calls in range(20):
        process = context.Process(target=promote_and_die, args=(address, champion, calls))
        process.start()
        process.join(120)
        now = aliases(client)[CHAMPION]
        versions = {str(version.version) for version in client.search_model_versions("name = 'm'")}
        assert now in versions
        moved = now != champion
        # Whatever had become of it, a move that took place is in the history, and can be taken back.
        assert not moved or [one.after for one in read_history(client, "m")][-1] == now
        expected = champion if moved else first
        assert rollback(client, "m").after == expected
        assert aliases(client) == {CHAMPION: expected, PREVIOUS: now}
        rollback(client, "m")
        stood.add((moved, process.exitcode))
        first, champion = now, promote(client, now)
        if process.exitcode == 0:
            break
    assert stood == {(False, -signal.SIGKILL), (True, -signal.SIGKILL), (True, 0)}


def race(address: str, against: str, start: object, outcome: object) -> None:
    """One process of many, as on a machine of its own: it knows the server alone."""
    client = MlflowClient(address, address)
    start.wait()  # type: ignore[attr-defined]
    try:
        outcome.put(("won", promote(client, against)))  # type: ignore[attr-defined]
    except RegistryError as error:
        outcome.put(("told", str(error)))  # type: ignore[attr-defined]


@pytest.mark.long
def test_of_many_promotions_at_once_one_wins_and_all_others_are_told(
    new_mlflow_server: Callable[..., MlflowServer],
) -> None:
    context = fast_context(__name__)
    server = new_mlflow_server(workers=2)
    address = server.address
    client = MlflowClient(address, address)
    client.create_registered_model("m")
    champion = promote(client, NO_CHAMPION)
    for _ in range(3):
        start, outcome = context.Barrier(4), context.Queue()
        racers = [context.Process(target=race, args=(address, champion, start, outcome)) for _ in range(4)]
        for racer in racers:
            racer.start()
        answers = [outcome.get(timeout=120) for _ in racers]
        for racer in racers:
            racer.join(60)
        winners = [text for word, text in answers if word == "won"]
        assert len(winners) == 1, answers
        told = [text for word, text in answers if word == "told"]
        assert all("nothing was moved" in text for text in told)
        assert aliases(client) == {CHAMPION: winners[0], PREVIOUS: champion}
        assert read_history(client, "m")[-1].after == winners[0]
        champion = winners[0]
    assert len(client.search_model_versions("name = 'm'")) == 4
    server.kill()
