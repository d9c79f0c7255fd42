"""Moves of the alias `champion`: claims of the same champion, rollbacks, history."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.model.versions import CHAMPION
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
from tests.registry.promotion.moves import aliases, claim, promote


@pytest.fixture
def client(prepared_store: Path) -> MlflowClient:
    address = f"sqlite:///{prepared_store}/mlflow.db"
    client = MlflowClient(address, address)
    client.create_registered_model("m")
    return client


def test_a_champion_follows_another(client: MlflowClient) -> None:
    assert promote(client, NO_CHAMPION) == "1"
    assert aliases(client) == {CHAMPION: "1"}
    assert promote(client, "1") == "2"
    assert aliases(client) == {CHAMPION: "2", PREVIOUS: "1"}
    assert [(one.kind, one.before, one.after) for one in read_history(client, "m")] == [
        ("promote", "", "1"), ("promote", "1", "2")
    ]  # fmt: skip


def test_a_comparison_with_a_former_champion_moves_nothing(client: MlflowClient) -> None:
    promote(client, NO_CHAMPION)
    promote(client, "1")
    with pytest.raises(
        RegistryError, match="'m': version 2 has become the champion in the meantime, so nothing was moved"
    ):
        promote(client, "1")
    assert aliases(client) == {CHAMPION: "2", PREVIOUS: "1"}
    assert len(client.search_model_versions("name = 'm'")) == 2


def test_the_second_of_two_claims_is_refused(client: MlflowClient) -> None:
    promote(client, NO_CHAMPION)
    claim(client, "1")
    with pytest.raises(RegistryError, match="version 2 is being promoted at this moment"):
        promote(client, "1")
    assert aliases(client) == {CHAMPION: "1"}
    assert {version.version for version in client.search_model_versions("name = 'm'")} == {1, 2}


def test_the_claim_of_a_dead_process_is_abandoned(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(client, NO_CHAMPION)
    claim(client, "1")
    monkeypatch.setattr("kmcl_platform.registry.promotion.alias_moves.CLAIM_SECONDS", 0)
    assert promote(client, "1") == "3"
    monkeypatch.undo()
    assert aliases(client) == {CHAMPION: "3", PREVIOUS: "1"}
    assert CLAIM_SECONDS == 60


def test_a_second_rollback_undoes_the_first(client: MlflowClient) -> None:
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


def test_a_rollback_without_a_former_champion_is_refused_in_one_line(client: MlflowClient) -> None:
    with pytest.raises(RegistryError, match="model 'm': no version has the alias `champion`; valid: `kmcl promote m`"):
        rollback(client, "m")
    with pytest.raises(RegistryError, match="model: got 'n', which is not in the registry; valid: m"):
        rollback(client, "n")
    promote(client, NO_CHAMPION)
    with pytest.raises(RegistryError, match="model 'm': version 1 is its first champion"):
        rollback(client, "m")
    with pytest.raises(RegistryError, match="model: got 'n', which is not in the registry; valid: m"):
        read_history(client, "n")


def test_a_suspended_promotion_does_not_overtake_the_one_that_replaced_it(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(client, NO_CHAMPION)
    suspended = client.create_model_version("m", "s3://bucket/model", tags={AGAINST_TAG: "1"})
    monkeypatch.setattr("kmcl_platform.registry.promotion.alias_moves.CLAIM_SECONDS", 0)
    other = client.create_model_version("m", "s3://bucket/model", tags={AGAINST_TAG: "1"})
    settle_claim(client, "m", other)  # It may move the alias now, but has not done so yet.
    with pytest.raises(RegistryError, match="another promotion replaced this one, which took more than 0 s"):
        settle_claim(client, "m", suspended)
    move(client, "m", before="1", after=str(other.version), kind="promote", reason="test")
    assert aliases(client) == {CHAMPION: "3", PREVIOUS: "1"}


def test_the_claim_of_a_deleted_version_does_not_count(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(client, NO_CHAMPION)
    dead = claim(client, "1")
    monkeypatch.setattr("kmcl_platform.registry.promotion.alias_moves.CLAIM_SECONDS", 0)
    search = client.search_model_versions

    def delete_after(*words: Any) -> Any:
        found = search(*words)
        client.delete_model_version("m", dead)
        return found

    monkeypatch.setattr(client, "search_model_versions", delete_after)
    assert promote(client, "1") == "3"


def test_a_rollback_first_checks_the_former_champion(client: MlflowClient) -> None:
    promote(client, NO_CHAMPION)
    promote(client, "1")

    def refuse(version: Any) -> None:
        raise RegistryError(f"version {version.version} has no files")

    with pytest.raises(RegistryError, match="version 1 has no files"):
        rollback(client, "m", check=refuse)
    assert aliases(client) == {CHAMPION: "2", PREVIOUS: "1"}
    assert len(read_history(client, "m")) == 2
