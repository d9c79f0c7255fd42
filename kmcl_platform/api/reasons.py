"""Reasons for a move of a champion, as a caller gives them."""

from kmcl_platform.errors import RegistryError
from kmcl_platform.messages import show_value


def as_reason(name: str, reason: object) -> str:
    """The text of a reason, without spaces around it.

    Args:
        name: of the argument.
        reason: as the caller gave it.

    Raises:
        RegistryError: it is no text.
    """
    if not isinstance(reason, str):
        raise RegistryError(f"{name}: got {show_value(reason)}; valid: the reason, as text")
    return reason.strip()
