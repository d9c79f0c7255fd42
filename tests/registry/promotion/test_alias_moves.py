"""Moves of the champion: claims of one place, rollbacks, history; and many processes at once on one MLflow server."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.model.versions import CHAMPION, find_alias
from kmcl_platform.registry.promotion.alias_moves import (
    AGAINST_TAG,
    CLAIM_SECONDS,
    NO_CHAMPION,
    PREVIOUS,
    move,
    read_history,
    rollback,
    settle_claim,
)
from tests.support.mlflow_server import MlflowServer
from tests.support.worker_processes import fast_context


@pytest.fixture
def client(prepared_store: Path) -> MlflowClient:
    address = f"sqlite:///{prepared_store}/mlflow.db"
    client = MlflowClient(address, address)
    client.create_registered_model("m")
    return client


def claim(client: MlflowClient, against: str) -> str:
    """Register a version that claims the place of a champion, without settling it: as far as a killed process comes."""
    return str(client.create_model_version("m", "s3://bucket/model", tags={AGAINST_TAG: against}).version)


def promote(client: MlflowClient, against: str) -> str:
    version = client.create_model_version("m", "s3://bucket/model", tags={AGAINST_TAG: against})
    settle_claim(client, "m", version)
    before = "" if against == NO_CHAMPION else against
    move(client, "m", before=before, after=str(version.version), kind="promote", reason="test")
    return str(version.version)


def aliases(client: MlflowClient) -> dict[str, str]:
    found = {alias: find_alias(client, "m", alias) for alias in (CHAMPION, PREVIOUS)}
    return {alias: str(version.version) for alias, version in found.items() if version}


def test_a_champion_follows_another(client: MlflowClient) -> None:
    assert promote(client, NO_CHAMPION) == "1"
    assert aliases(client) == {CHAMPION: "1"}
    assert promote(client, "1") == "2"
    assert aliases(client) == {CHAMPION: "2", PREVIOUS: "1"}
    assert [(one.kind, one.before, one.after) for one in read_history(client, "m")] == [
        ("promote", "", "1"), ("promote", "1", "2")
    ]  # fmt: skip


def test_who_was_held_against_a_former_champion_is_told(client: MlflowClient) -> None:
    promote(client, NO_CHAMPION)
    promote(client, "1")
    with pytest.raises(RegistryError, match="'m': version 2 has become the champion meanwhile, so nothing was moved"):
        promote(client, "1")
    assert aliases(client) == {CHAMPION: "2", PREVIOUS: "1"}
    assert len(client.search_model_versions("name = 'm'")) == 2


def test_who_comes_second_is_told(client: MlflowClient) -> None:
    promote(client, NO_CHAMPION)
    claim(client, "1")
    with pytest.raises(RegistryError, match="version 2 is being promoted at this moment"):
        promote(client, "1")
    assert aliases(client) == {CHAMPION: "1"}
    assert {version.version for version in client.search_model_versions("name = 'm'")} == {1, 2}


def test_a_claim_whose_process_died_is_passed_over(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(client, NO_CHAMPION)
    claim(client, "1")
    monkeypatch.setattr("kmcl_platform.registry.promotion.alias_moves.CLAIM_SECONDS", 0)
    assert promote(client, "1") == "3"
    monkeypatch.undo()
    assert aliases(client) == {CHAMPION: "3", PREVIOUS: "1"}
    assert CLAIM_SECONDS == 60


def test_rollback_and_back(client: MlflowClient) -> None:
    promote(client, NO_CHAMPION)
    promote(client, "1")
    assert (rollback(client, "m", "too slow").after, aliases(client)) == ("1", {CHAMPION: "1", PREVIOUS: "2"})
    rollback(client, "m")
    assert aliases(client) == {CHAMPION: "2", PREVIOUS: "1"}
    last = read_history(client, "m")[2:]
    assert [(one.kind, one.before, one.after, one.reason) for one in last] == [
        ("rollback", "2", "1", "too slow"), ("rollback", "1", "2", "")
    ]  # fmt: skip
    assert promote(client, "2") == "3"


def test_a_rollback_that_cannot_be(client: MlflowClient) -> None:
    with pytest.raises(RegistryError, match="model 'm': has no champion; valid: m"):
        rollback(client, "m")
    with pytest.raises(RegistryError, match="model 'n': has no champion; valid: m"):
        rollback(client, "n")
    promote(client, NO_CHAMPION)
    with pytest.raises(RegistryError, match="model 'm': version 1 is its first champion"):
        rollback(client, "m")
    with pytest.raises(RegistryError, match="model 'n': not in the registry; valid: m"):
        read_history(client, "n")


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
