"""A node leaves a Ray cluster while it trains, another comes later; the search waits for it and goes on by itself."""

import os
import sys
import time
from pathlib import Path

import pytest

from tests.integration.chaos.disasters import Search, Story, finish, kill_all
from tests.integration.test_growing_cluster import ray_process
from tests.integration.test_submit import free_port, short_folder, wait_for_port

pytestmark = pytest.mark.chaos

START_TIMEOUT_SECONDS = 10


def test_a_node_leaves_and_another_comes(search: Search, tmp_path: Path, undisturbed: Story) -> None:
    gcs, dashboard = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "f" * 64,
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(START_TIMEOUT_SECONDS),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    search.environment = environment | {"KMCL_CLUSTER_NODES": "1x2/0"}
    search.options = ["--address", f"127.0.0.1:{gcs}"]
    head_words = [
        "--head", "--num-cpus=0", "--num-gpus=0", f"--port={gcs}", "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}", "--dashboard-agent-listen-port=0", f"--temp-dir={short_folder()}",
    ]  # fmt: skip

    def node_words() -> list[str]:
        # Nodes of one machine would share, and clear away, the folder that the others work in.
        return [f"--address=127.0.0.1:{gcs}", "--num-cpus=2", f"--temp-dir={short_folder()}"]

    with ray_process(tmp_path / "head.txt", environment, *head_words) as head:
        wait_for_port(dashboard, head)
        process = search.start()
        # A driver joins a node of its machine, and would die with it: the head is the only one yet.
        search.wait_for_line(process, "1 at once")
        with ray_process(tmp_path / "node.txt", environment, *node_words()) as node:
            search.wait_for_epoch(process, epoch=3)
            kill_all(node)
        before = search.look()
        # Long enough for the search to look for workers where there are none.
        time.sleep(2 * START_TIMEOUT_SECONDS)
        with ray_process(tmp_path / "another.txt", environment, *node_words()):
            finish(search, process)
    assert {report["process_id"] for report in before.reports[0]}.isdisjoint(
        {report["process_id"] for report in search.look().reports[0][len(before.reports[0]) :]}
    )
    search.check(undisturbed, before)
