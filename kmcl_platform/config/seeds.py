"""Seeds as functions of what they are for, so that nothing random depends on what ran before."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2^31) that depends on all parts and on nothing else, the same on every machine."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
