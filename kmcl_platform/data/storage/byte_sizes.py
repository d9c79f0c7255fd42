"""Sizes in bytes, as people write them."""

import re

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_size(text: str) -> int:
    """Bytes of `500000`, `64MB` (millions) or `20GiB` (powers of 1024).

    Raises:
        ValueError: it is no size above 0; its text says what would be.
    """
    found = re.fullmatch(r"\s*(\d+)\s*([kmgt]?i?)b?\s*", text.lower())
    size = int(found[1]) * _UNITS.get(found[2], 0) if found else 0
    if size < 1:
        raise ValueError(f"got {text!r}; valid: bytes above 0, such as 500000, 64MB or 20GiB")
    return size
