"""Moves of the alias `champion`: one at a time, each recorded, each reversible.

MLflow gives an alias to the last caller and compares nothing. But it numbers versions atomically. So a promotion
registers its version with the champion that it was compared with (`kmcl.against`). Of all versions that were
compared with the same champion, the one with the lowest number gets the alias, and the other promotions are refused. A
promotion that has not finished after a minute counts as dead: the next one marks its claim as abandoned.
"""

import getpass
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from kmcl_platform.errors import RegistryError
from kmcl_platform.messages import shell_command, show_value
from kmcl_platform.registry.model.versions import CHAMPION, NOT_FOUND, find_alias, known_models

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

PREVIOUS = "previous"
"""The alias of the version that was the champion before."""

AGAINST_TAG = "kmcl.against"
"""Tag of a version: the version of the champion that it was compared with, or `none`."""
NO_CHAMPION = "none"
_SETTLED_TAG = "kmcl.settled"
"""Tag of a version whose claim is no longer open: `promoted` or `abandoned`."""
_ABANDONED = "abandoned"
_MOVE_TAG = "kmcl.move"
"""Prefix of a registered model's tags, one for each move; its time follows."""
CLAIM_SECONDS = 60
"""How long a claim stays open if its promotion does not finish."""


@dataclass(frozen=True)
class Move:
    """One move of the alias.

    Attributes:
        time: UTC, ISO 8601.
        user: the operating system's name of the user.
        kind: `promote`, `force` or `rollback`.
        before: the champion's version before the move. Empty: there was none.
        after: the champion's version after the move.
        reason: the user's reason, or a description of the candidate.
    """

    time: str
    user: str
    kind: str
    before: str
    after: str
    reason: str


def settle_claim(client: "MlflowClient", model: str, version: "ModelVersion") -> None:
    """Decide whether a newly registered version may become the champion.

    Raises:
        RegistryError: another promotion is in progress, or the champion is no longer the one that the version was
            compared with. The version was removed, and no alias has moved.
    """
    own = int(version.version)
    against = version.tags[AGAINST_TAG]
    rivals = [
        rival
        for rival in client.search_model_versions(f"name = '{model}'")
        if rival.tags.get(AGAINST_TAG) == against and _SETTLED_TAG not in rival.tags and int(rival.version) < own
    ]
    for rival in rivals:
        # Both times are the server's, so that clocks of different machines do not matter.
        if version.creation_timestamp - rival.creation_timestamp < 1000 * CLAIM_SECONDS:
            _give_up(client, model, version, f"version {rival.version} is being promoted at this moment")
        _abandon(client, model, rival)
    champion = find_alias(client, model, CHAMPION)
    now = champion.version if champion else NO_CHAMPION
    if str(now) != against:
        _give_up(client, model, version, f"version {now} has become the champion in the meantime")
    # Last, so that a promotion that was suspended for a minute does not overtake the one that replaced it.
    if client.get_model_version(model, version.version).tags.get(_SETTLED_TAG) == _ABANDONED:
        _give_up(client, model, version, f"another promotion replaced this one, which took more than {CLAIM_SECONDS} s")


def _abandon(client: "MlflowClient", model: str, rival: "ModelVersion") -> None:
    """Close the claim of a promotion that died; a version that was deleted has no claim."""
    from mlflow.exceptions import MlflowException

    try:
        client.set_model_version_tag(model, rival.version, _SETTLED_TAG, _ABANDONED)
    except MlflowException as error:
        if error.error_code not in NOT_FOUND:
            raise


def _give_up(client: "MlflowClient", model: str, version: "ModelVersion", why: str) -> None:
    # A version that is not promoted must not stay: its claim would stop other promotions for a minute.
    client.delete_model_version(model, version.version)
    again = shell_command(["kmcl", "promote", model])
    raise RegistryError(f"model {model!r}: {why}, so nothing was moved; valid: `{again}`, which compares again")


def move(client: "MlflowClient", model: str, *, before: str, after: str, kind: str, reason: str) -> Move:
    """Give the alias to another version, keep the one before as `previous`, and record the move.

    Args:
        client: connected to the store.
        model: the registered model.
        before: the champion's version. Empty: there is none.
        after: the new champion's version, which exists.
        kind: as in `Move`.
        reason: as in `Move`.
    """
    made = Move(_now(), _user(), kind, before, after, reason)
    # The record comes first: if the process is killed, the history may have one move too many, but never one too few.
    client.set_registered_model_tag(model, f"{_MOVE_TAG}.{made.time}", json.dumps(asdict(made)))
    # `previous` is set before `champion`. If the process is killed in between, both name the same version, and
    # `rollback` reads the history instead.
    if before:
        client.set_registered_model_alias(model, PREVIOUS, before)
    client.set_registered_model_alias(model, CHAMPION, after)
    # Last: until then the open claim keeps other promotions away.
    client.set_model_version_tag(model, after, _SETTLED_TAG, "promoted")
    return made


def rollback(
    client: "MlflowClient",
    model: str,
    reason: str = "",
    *,
    check: "Callable[[ModelVersion], object]" = lambda version: None,
) -> Move:
    """Make the former champion the champion again; a second rollback undoes the first.

    Args:
        client: connected to the store.
        model: the registered model.
        reason: for the history.
        check: is called with the former champion before anything is moved; an error of it is passed on.

    Raises:
        RegistryError: the model is not registered, it has no champion, or no former champion exists.
    """
    moves = read_history(client, model)
    champion, previous = (find_alias(client, model, alias) for alias in (CHAMPION, PREVIOUS))
    if champion is None:
        again = shell_command(["kmcl", "promote", model])
        raise RegistryError(f"model {model!r}: no version has the alias `{CHAMPION}`; valid: `{again}` first")
    own = str(champion.version)
    if previous is None or str(previous.version) == own:
        # The alias was removed, or a move was killed between its two aliases. The history has the former champion.
        before = next((one.before for one in reversed(moves) if one.after == own), "")
        if not before:
            raise RegistryError(
                f"model {model!r}: version {own} is its first champion; valid: a model with a former champion"
            )
        previous = _find(client, model, before)
    if previous is None:
        raise RegistryError(
            f"model {model!r}: version {before}, the champion before version {own}, was deleted; valid: a former "
            f"champion that exists (set the alias `{PREVIOUS}` to a version in MLflow)"
        )
    check(previous)
    return move(client, model, before=own, after=str(previous.version), kind="rollback", reason=reason)


def read_history(client: "MlflowClient", model: str) -> Sequence[Move]:
    """Every move of a model's alias, the first one first.

    Raises:
        RegistryError: the model is not registered, or the record of a move was changed.
    """
    from mlflow.exceptions import MlflowException

    try:
        tags = client.get_registered_model(model).tags
    except MlflowException as error:
        if error.error_code not in NOT_FOUND:
            raise
        raise RegistryError(
            f"model: got {show_value(model)}, which is not in the registry; valid: {known_models(client)}"
        ) from None
    # A name ends with the time in a form of fixed width, so the order of the names is that of the moves.
    return [_read_move(model, name, tags[name]) for name in sorted(tags) if name.startswith(f"{_MOVE_TAG}.")]


def _read_move(model: str, name: str, text: str) -> Move:
    try:
        return Move(**{field: str(value) for field, value in json.loads(text).items()})
    except (ValueError, TypeError, AttributeError):
        raise RegistryError(
            f"model {model!r}: tag {name}: got {show_value(text)}; valid: the record of a move as kmcl wrote it "
            "(remove the tag in MLflow if that is lost)"
        ) from None


def _find(client: "MlflowClient", model: str, version: str) -> "ModelVersion | None":
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(model, version)
    except MlflowException as error:
        if error.error_code in NOT_FOUND:
            return None
        raise


def _now() -> str:
    seconds = time.time()
    # With milliseconds, so that two moves within a second have different tags.
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"  # A container may run under a user number without a name.
