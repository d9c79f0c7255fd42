"""A placement group that a dead controller has left is removed, so that the next trial gets its CPUs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import PlacementGroupID
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from kmcl_platform.config.search_parts import Resources
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.search.cluster.placement_groups import ReservationWatch
from kmcl_platform.search.cluster.ray_session import WORKER_ENVIRONMENT
from kmcl_platform.search.run.on_ray.worker_group import WorkerGroup

pytestmark = [pytest.mark.long, pytest.mark.takes(40)]


@ray.remote(num_cpus=0)
class Creator:
    """Reserves CPUs, as a controller of Ray Train does."""

    def reserve(self, name: str, cpus: int) -> str:
        group = placement_group([{"CPU": cpus}], name=name)
        ray.get(group.ready())
        return str(group.id.hex())


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(
        address="local", num_cpus=3, include_dashboard=True, dashboard_host="127.0.0.1", log_to_driver=False,
        runtime_env={"env_vars": WORKER_ENVIRONMENT},
    )  # fmt: skip
    yield
    ray.shutdown()


def held() -> set[str]:
    return {name for name, group in placement_group_table().items() if group["state"] == "CREATED"}


def test_a_dead_controllers_reservation_is_removed(cluster: None, small_manifest: Path, tmp_path: Path) -> None:
    creator: Any = Creator.remote()
    left = ray.get(creator.reserve.remote("", 2))
    named = ray.get(creator.reserve.remote("of Tune", 1))
    ray.kill(creator)
    config = TrialConfig().with_values(
        {"data.source": str(small_manifest), "data.image_size": 32, "data.batch_size": 32, "num_epochs": 1}
    )
    group = WorkerGroup(Resources(workers_per_trial=2))
    assert {left, named} <= held()
    folder = str(tmp_path)
    group.begin(
        {
            "number": 0,
            "config": config.model_dump(),
            "checkpoints": folder,
            "data_dir": folder,
            "features_dir": folder,
            "working_dir": folder,
        }
    )
    assert group.next_message()["report"]["epoch"] == 1
    assert left not in held()
    assert named in held()
    group.close()
    # The next test uses the same cluster.
    remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(named))))


def test_a_reservation_in_use_is_kept(cluster: None) -> None:
    group: PlacementGroup = placement_group([{"CPU": 1}])
    ray.get(group.ready())
    within = PlacementGroupSchedulingStrategy(placement_group=group)
    inside: Any = Creator.options(scheduling_strategy=within).remote()  # type: ignore[attr-defined]
    ray.get(inside.reserve.remote("", 1))
    empty = held() - {group.id.hex()}
    watch = ReservationWatch()
    watch.look()
    assert {group.id.hex(), *empty} <= held()
    watch.look()
    assert group.id.hex() in held()
    assert not empty & held()
