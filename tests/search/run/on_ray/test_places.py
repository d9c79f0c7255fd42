"""A search with a share of its cluster follows the nodes that come and go."""

import pytest

from kmcl_platform.config.search_parts import Resources
from kmcl_platform.search.run.on_ray import places
from kmcl_platform.search.run.on_ray.places import SharedPlaces


@pytest.mark.parametrize(("share", "expected"), [(0.5, [4, 1]), (None, [])])
def test_the_number_of_trials_follows_the_nodes(
    share: float | None, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [{"CPU": 4.0}]
    found: list[int] = []
    monkeypatch.setattr(places, "trial_nodes", lambda: nodes)
    monkeypatch.setattr(places, "SECONDS_BETWEEN_LOOKS", 0)
    shared = SharedPlaces(Resources(share=share), 2, found.append)
    shared.look()
    nodes.append({"CPU": 4.0})
    shared.look()
    shared.look()
    # No node is left: the trials wait for one.
    nodes.clear()
    shared.look()
    nodes.append({"CPU": 2.0})
    shared.look()
    assert found == expected
