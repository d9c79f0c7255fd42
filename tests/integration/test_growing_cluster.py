"""A cluster whose head offers nothing and whose first node comes while the search waits for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import start_kmcl
from tests.support.finished_search import end_group
from tests.support.ray_cluster import cluster_environment, ray_head, ray_node
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.takes(80)]


def test_a_search_waits_for_the_nodes_that_its_cluster_may_have(
    tmp_path: Path, small_manifest: Path, small_search: Callable[..., Path], prepared_store: Path
) -> None:
    # Several attempts to start the trial's workers fail before the node is there.
    environment = cluster_environment(RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="5")
    log = tmp_path / "job.txt"
    with ray_head(tmp_path / "head.txt", environment, cpus=0, nodes="1x2/0") as head:
        file = small_search(tmp_path, small_manifest, epochs=1, trials=2)
        words = ("submit", file, "--follow", "--address", head.address)
        job = start_kmcl(*words, log=log, store=prepared_store, environment=environment)
        try:
            wait_until(lambda: "1 at once" in log.read_text(), process=job, log=log)
            wait_until(lambda: head.count_worker_starts() >= 3, process=job, log=log)
            assert "1/2 done" not in log.read_text()
            with ray_node(tmp_path / "node.txt", head, cpus=2):
                code = job.wait(240)
        finally:
            end_group(job)
    assert code == 0, log.read_text()
    assert "2/2 done" in log.read_text()
