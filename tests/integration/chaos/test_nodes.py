"""A node leaves a Ray cluster while it trains, another comes later; the search waits for it and continues by itself."""

from pathlib import Path

import psutil
import pytest

from tests.integration.chaos.disasters import Search, Story, finish
from tests.support.processes import kill_family
from tests.support.ray_cluster import cluster_environment, ray_head, ray_node
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos


def test_a_node_leaves_and_another_comes(search: Search, tmp_path: Path, undisturbed: Story) -> None:
    environment = cluster_environment(RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="10")
    search.environment = environment | {"KMCL_CLUSTER_NODES": "1x2/0"}
    with ray_head(tmp_path / "head.txt", environment, cpus=0) as head:
        search.options = ["--address", head.gcs]
        process = search.start()
        # A driver joins a node of its machine, and would end with it: now the head is the only node.
        search.wait_for_line(process, "1 at once")
        with ray_node(tmp_path / "node.txt", head, cpus=2) as node:
            search.wait_for_epoch(process, epoch=3)
            kill_family(node)
        before = search.look()
        # The search looks for workers where there are none.
        starts = head.count_worker_starts()
        wait_until(lambda: head.count_worker_starts() >= starts + 2, process=process)
        with ray_node(tmp_path / "another.txt", head, cpus=2):
            finish(search, process)
    assert {report["process_id"] for report in before.reports[0]}.isdisjoint(
        {report["process_id"] for report in search.look().reports[0][len(before.reports[0]) :]}
    )
    search.check(undisturbed, before)


def test_a_node_is_drained_and_its_trial_goes_on_another(search: Search, tmp_path: Path, undisturbed: Story) -> None:
    environment = cluster_environment(RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="10")
    search.environment = environment | {"KMCL_CLUSTER_NODES": "1x2/0"}
    with ray_head(tmp_path / "head.txt", environment, cpus=0) as head:
        search.options = ["--address", head.gcs]
        process = search.start()
        search.wait_for_line(process, "1 at once")
        with ray_node(tmp_path / "node.txt", head, cpus=2) as node:
            leaver = search.wait_for_epoch(process, epoch=1)
            head.drain_worker_nodes()
            with ray_node(tmp_path / "another.txt", head, cpus=2):
                wait_until(lambda: not psutil.pid_exists(leaver), process=process)
                before = search.look()
                # The node itself goes only now: its workers have left by themselves.
                kill_family(node)
                finish(search, process)
    assert leaver not in {report["process_id"] for report in search.look().reports[0][len(before.reports[0]) :]}
    search.check(undisturbed, before)
