"""Which of the drivers of a cluster has the next turn."""

from typing import Any

import pytest

from kmcl_platform.search.run.on_ray.turns import Claim, choose_claim


def group(job: str, state: str, scheduling: str = "NO_RESOURCES", **resources: float) -> dict[str, Any]:
    bundles = [{"unit_resources": resources}]
    return {"creator_job_id": job, "state": state, "bundles": bundles, "stats": {"scheduling_state": scheduling}}


@pytest.mark.parametrize(
    ("groups", "claim"),
    [
        ([group("own", "CREATED", CPU=2)], None),
        ([group("own", "CREATED", CPU=2), group("b", "PENDING", CPU=1)], Claim("b", "CPU", 0)),
        # It holds as much, so it waits for its own trials.
        ([group("own", "CREATED", CPU=1), group("b", "CREATED", CPU=1), group("b", "PENDING", CPU=1)], None),
        # The one that holds less comes first.
        (
            [
                *[group("own", "CREATED", CPU=1)] * 3,
                *[group(job, "PENDING", CPU=1) for job in ("b", "c")],
                group("b", "CREATED", CPU=1),
            ],
            Claim("c", "CPU", 0),
        ),
        # What no node can ever give, groups of Tune's actors, and own groups that wait.
        ([group("own", "CREATED", CPU=2), group("b", "PENDING", "INFEASIBLE", CPU=64)], None),
        ([group("own", "CREATED", CPU=2), group("b", "PENDING", memory=1)], None),
        ([group("own", "CREATED", CPU=2), group("own", "PENDING", CPU=1)], None),
        ([group("own", "CREATED", CPU=2), group("b", "REMOVED", "REMOVED", CPU=1)], None),
        # A search that waits for GPUs has nothing of one without.
        ([group("own", "CREATED", CPU=2), group("b", "PENDING", CPU=1, GPU=1)], None),
        ([group("own", "CREATED", CPU=1, GPU=1), group("b", "PENDING", CPU=1, GPU=1)], Claim("b", "GPU", 0)),
    ],
)
def test_the_driver_that_waits_and_holds_least_has_the_next_turn(
    groups: list[dict[str, Any]], claim: Claim | None
) -> None:
    assert choose_claim(groups, "own") == claim
