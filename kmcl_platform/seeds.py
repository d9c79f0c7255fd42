"""Seeds that are computed from their purpose, so that no random number depends on what ran before."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2^31) that depends on all parts and on nothing else, the same on every machine."""
    # Not Python's `hash`, which differs from process to process for text.
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    # 31 of the 32 bits: seeds in search files have the same range.
    return int.from_bytes(digest[:4], "big") >> 1
