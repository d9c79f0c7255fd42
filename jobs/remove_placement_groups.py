"""Remove placement groups by their ids; `kmcl doctor --fix` runs this script on the cluster."""

import sys

import ray
from ray import PlacementGroupID
from ray.util.placement_group import PlacementGroup, remove_placement_group

if __name__ == "__main__":
    # The cluster on which Ray's job server has started this script.
    ray.init(address="auto")
    for group_id in sys.argv[1:]:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group_id))))
