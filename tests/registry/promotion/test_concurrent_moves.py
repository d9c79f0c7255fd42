"""Promotions that are killed at any request, and many promotions at the same time on one MLflow server."""

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


@pytest.mark.story
@pytest.mark.long
def test_a_promotion_that_is_killed_anywhere_leaves_a_champion_and_can_be_repeated(
    prepared_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"sqlite:///{prepared_store}/mlflow.db"
    client = MlflowClient(address, address)
    client.create_registered_model("m")
    first = promote(client, NO_CHAMPION)
    champion = promote(client, first)
    monkeypatch.setattr(
        "kmcl_platform.registry.promotion.alias_moves.CLAIM_SECONDS", 0
    )  # A killed promotion counts as dead immediately.
    context = fast_context(__name__)
    seen = set()
    for calls in range(20):
        process = context.Process(target=promote_and_die, args=(address, champion, calls))
        process.start()
        process.join(120)
        now = aliases(client)[CHAMPION]
        versions = {str(version.version) for version in client.search_model_versions("name = 'm'")}
        assert now in versions
        moved = now != champion
        # Wherever the process was killed, a move that took place is in the history and can be undone.
        assert not moved or [one.after for one in read_history(client, "m")][-1] == now
        expected = champion if moved else first
        assert rollback(client, "m").after == expected
        assert aliases(client) == {CHAMPION: expected, PREVIOUS: now}
        rollback(client, "m")
        seen.add((moved, process.exitcode))
        first, champion = now, promote(client, now)
        if process.exitcode == 0:
            break
    assert seen == {(False, -signal.SIGKILL), (True, -signal.SIGKILL), (True, 0)}


def race(address: str, against: str, start: object, outcome: object) -> None:
    """One of many processes, which share only the server, as on different machines."""
    client = MlflowClient(address, address)
    start.wait()  # type: ignore[attr-defined]
    try:
        outcome.put(("won", promote(client, against)))  # type: ignore[attr-defined]
    except RegistryError as error:
        outcome.put(("refused", str(error)))  # type: ignore[attr-defined]


@pytest.mark.story
@pytest.mark.long
def test_of_many_promotions_at_the_same_time_one_wins_and_all_others_are_refused(
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
        refused = [text for word, text in answers if word == "refused"]
        assert len(refused) == 3 and all("nothing was moved" in text for text in refused)
        assert aliases(client) == {CHAMPION: winners[0], PREVIOUS: champion}
        assert read_history(client, "m")[-1].after == winners[0]
        champion = winners[0]
    assert len(client.search_model_versions("name = 'm'")) == 4
    server.kill()
