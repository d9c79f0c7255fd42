"""Plug-ins of one test are not there in the next."""

from collections.abc import Iterator

import pytest

from kmcl_platform.plugins import source as module
from kmcl_platform.plugins.registry import forget_components


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """A test leaves no plug-in behind."""
    known, loaded = dict(module._known), dict(module._loaded)
    yield
    for name in module._loaded.keys() - loaded.keys():
        forget_components(name)
    module._known.clear()
    module._known.update(known)
    module._loaded.clear()
    module._loaded.update(loaded)
