"""Promotions without training: a version, its claim, and the move of the alias."""

from mlflow import MlflowClient

from kmcl_platform.registry.model.versions import CHAMPION, find_alias
from kmcl_platform.registry.promotion.alias_moves import AGAINST_TAG, NO_CHAMPION, PREVIOUS, move, settle_claim


def claim(client: MlflowClient, against: str) -> str:
    """Register a version that claims the place of a champion, and stop there, like a process that is killed."""
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
