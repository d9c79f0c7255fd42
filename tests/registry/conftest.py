"""Fixtures of the registry's tests."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.registry.promotion.story import Story


@pytest.fixture(scope="session")
def story(initialised_database: Path, tmp_path_factory: pytest.TempPathFactory) -> "Story":
    """A store with seven promotions, made once for the session. It must not be changed; see `story_copy`."""
    from tests.registry.promotion.story import make_story, read_story
    from tests.support.session import make_once

    return read_story(
        make_once(tmp_path_factory, "promotion_story", lambda folder: make_story(folder, initialised_database))
    )


@pytest.fixture
def story_copy(story: "Story", tmp_path: Path) -> Path:
    """A copy of that store, which the test may change."""
    from tests.support.store_copy import copy_store

    copy_store(story.store.root, tmp_path / "story_copy")
    return tmp_path / "story_copy"


@pytest.fixture(scope="session")
def package(initialised_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a logged model, made once for the session; see `tests/registry/package/packaged.py`."""
    from tests.registry.package.packaged import make_package
    from tests.support.session import make_once

    made = make_once(tmp_path_factory, "package", lambda folder: make_package(folder, initialised_database))
    (found,) = made.glob("artifacts/models/*/artifacts")
    return found
