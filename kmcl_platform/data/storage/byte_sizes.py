"""Sizes in bytes, as users write them."""

import re

from kmcl_platform.messages import show_value

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_size(text: str) -> int:
    """The number of bytes of `500000`, `64MB` (powers of 1000) or `20GiB` (powers of 1024).

    Raises:
        ValueError: the text is not a size above 0. The error's text says what is valid.
    """
    found = re.fullmatch(r"\s*(\d+)\s*([kmgt]?i?)b?\s*", text.lower())
    size = int(found[1]) * _UNITS.get(found[2], 0) if found else 0
    if size < 1:
        raise ValueError(f"got {show_value(text)}; valid: bytes above 0, such as 500000, 64MB or 20GiB")
    return size
