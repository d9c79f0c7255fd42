"""Moves of the alias `champion`: one at a time, each written down, each to be undone.

MLflow moves an alias for whoever comes last and compares nothing. What it does atomically is to number versions. So a
promotion registers its version with the champion that it was held against (`kmcl.against`), and of all versions that
claim the place of the same champion the one with the lowest number has it; the others are told. A claim whose process
has died is passed over after a minute.
"""

import getpass
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.model.versions import CHAMPION, find_alias

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

PREVIOUS = "previous"
"""The alias of the version that was the champion before."""

AGAINST_TAG = "kmcl.against"
"""Tag of a version: the champion's version that it was held against, or `none`."""
NO_CHAMPION = "none"
_SETTLED_TAG = "kmcl.settled"
"""Tag of a version whose claim is no longer open: `promoted` or `abandoned`."""
_MOVE_TAG = "kmcl.move"
"""Prefix of a registered model's tags, one for each move; then its time."""
CLAIM_SECONDS = 60


@dataclass(frozen=True)
class Move:
    """One move of the alias.

    Attributes:
        time: UTC, ISO 8601.
        user: the operating system's name of who moved it.
        kind: `promote`, `force` or `rollback`.
        before: the champion's version until then; empty for a first one.
        after: its version from then on.
        reason: what the user gave, or what the candidate was.
    """

    time: str
    user: str
    kind: str
    before: str
    after: str
    reason: str


def settle_claim(client: "MlflowClient", model: str, version: "ModelVersion") -> None:
    """Decide whether a version that claims the champion's place has it; to be called once it is registered.

    Raises:
        RegistryError: another promotion has it, or the champion is no longer the one that this was held against. The
            version is removed again, and no alias has moved.
    """
    own = int(version.version)
    against = version.tags[AGAINST_TAG]
    rivals = [
        rival
        for rival in client.search_model_versions(f"name = '{model}'")
        if rival.tags.get(AGAINST_TAG) == against and _SETTLED_TAG not in rival.tags and int(rival.version) < own
    ]
    for rival in rivals:
        # Both times are the server's.
        if version.creation_timestamp - rival.creation_timestamp < 1000 * CLAIM_SECONDS:
            _give_up(client, model, version, f"version {rival.version} is being promoted at this moment")
        client.set_model_version_tag(model, rival.version, _SETTLED_TAG, "abandoned")
    champion = find_alias(client, model, CHAMPION)
    now = champion.version if champion else NO_CHAMPION
    if str(now) != against:
        _give_up(client, model, version, f"version {now} has become the champion meanwhile")


def _give_up(client: "MlflowClient", model: str, version: "ModelVersion", why: str) -> None:
    client.delete_model_version(model, version.version)
    raise RegistryError(f"model {model!r}: {why}, so nothing was moved; valid: kmcl promote again, against the new one")


def move(client: "MlflowClient", model: str, *, before: str, after: str, kind: str, reason: str) -> Move:
    """Let the alias stand at another version, keep the one before as `previous`, and write it down.

    Args:
        client: connected to the store.
        model: the registered model.
        before: the champion's version; empty for a first one.
        after: the version that the alias is to stand at.
        kind: as `Move`.
        reason: as `Move`.
    """
    made = Move(_now(), _user(), kind, before, after, reason)
    # The history first: a process that is killed in between leaves a line too many, never a move without one.
    client.set_registered_model_tag(model, f"{_MOVE_TAG}.{made.time}", json.dumps(asdict(made)))
    if before:
        client.set_registered_model_alias(model, PREVIOUS, before)
    client.set_registered_model_alias(model, CHAMPION, after)
    client.set_model_version_tag(model, after, _SETTLED_TAG, "promoted")
    return made


def rollback(client: "MlflowClient", model: str, reason: str = "") -> Move:
    """Make the version before the champion the champion again; a second rollback undoes the first.

    Raises:
        RegistryError: the model is not registered, or has no champion or none before it.
    """
    champion, previous = (find_alias(client, model, alias) for alias in (CHAMPION, PREVIOUS))
    if champion is None:
        raise RegistryError(f"model {model!r}: has no champion; valid: {_known(client)}")
    own = str(champion.version)
    before = str(previous.version) if previous else ""
    if before == own:
        # A move was killed between its two aliases: what stood before the champion is in the history alone.
        before = next((one.before for one in reversed(read_history(client, model)) if one.after == own), "")
    if not before:
        raise RegistryError(f"model {model!r}: version {own} is its first champion; valid: one after it")
    return move(client, model, before=own, after=before, kind="rollback", reason=reason)


def read_history(client: "MlflowClient", model: str) -> Sequence[Move]:
    """Every move of a model's alias, the first one first.

    Raises:
        RegistryError: the model is not registered.
    """
    from mlflow.exceptions import MlflowException

    try:
        tags = client.get_registered_model(model).tags
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise RegistryError(f"model {model!r}: not in the registry; valid: {_known(client)}") from None
    return [Move(**json.loads(tags[name])) for name in sorted(tags) if name.startswith(f"{_MOVE_TAG}.")]


def _known(client: "MlflowClient") -> str:
    return ", ".join(sorted(model.name for model in client.search_registered_models())) or "none is registered"


def _now() -> str:
    seconds = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"  # a container may run under a number without a name
