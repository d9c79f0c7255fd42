"""Names of classes: which are valid, and which are probably one class under two names."""

import unicodedata
from collections.abc import Iterable, Sequence

from kmcl_platform.data.manifest.table_errors import Fault
from kmcl_platform.messages import show_value

FIT_NAME = "up to 200 characters, no line ends or other control characters"


def is_fit_name(name: str) -> bool:
    """Whether a class can have this name: it is shown in tables, pictures and file names."""
    # "Cs" are surrogates, with which Python keeps bytes that are not UTF-8. No report in UTF-8 can show them.
    return len(name) <= 200 and not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def find_similar_names(class_names: Iterable[str]) -> list[Fault]:
    """A warning for all classes whose names differ only in upper and lower case, spaces, or the form of an accent.

    They stay different classes, because units and genes (`mW`, `MW`) differ in case too.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(class_names):
        # NFC writes an accent and its letter as one character. `casefold` also makes `ß` and `ss` equal, unlike
        # `lower`.
        groups.setdefault(" ".join(unicodedata.normalize("NFC", name).casefold().split()), []).append(name)
    return [_warn(names) for names in groups.values() if len(names) > 1]


def _warn(names: Sequence[str]) -> Fault:
    shown = ", ".join(show_value(name, 60) for name in names[:5])
    message = f"got {shown}, which differ only in upper and lower case or spaces; they are {len(names)} classes"
    return Fault("class names that are nearly the same", message)
