"""A cluster whose head offers nothing and whose first node comes while the search waits for it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.test_submit import free_port, short_folder, wait_for_port

pytestmark = [pytest.mark.slow, pytest.mark.long]

START_TIMEOUT_SECONDS = 5


@contextmanager
def ray_process(log: Path, environment: dict[str, str], *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`ray start --block`, in a session of its own: all its processes end, and no others."""
    ray = str(Path(sys.executable).parent / "ray")
    with log.open("w") as file:
        process = subprocess.Popen(
            [ray, "start", "--block", "--node-ip-address=127.0.0.1", *words],
            env=environment, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def test_a_search_waits_for_the_nodes_that_its_cluster_may_have(
    tmp_path: Path, small_manifest: Path, small_search: Callable[..., Path]
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "f" * 64,
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        # Several attempts to start the trial's workers fail before the node is there.
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(START_TIMEOUT_SECONDS),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    gcs, dashboard = free_port(), free_port()
    head_words = [
        "--head", "--num-cpus=0", "--num-gpus=0", f"--port={gcs}", "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}", "--dashboard-agent-listen-port=0", f"--temp-dir={short_folder()}",
    ]  # fmt: skip
    with ray_process(tmp_path / "head.txt", environment | {"KMCL_CLUSTER_NODES": "1x2/0"}, *head_words) as head:
        wait_for_port(dashboard, head)
        file = small_search(tmp_path, small_manifest, epochs=1, trials=2)
        job = subprocess.Popen(
            [sys.executable, "-m", "kmcl_platform.cli", "submit", str(file), "--follow"]
            + ["--address", f"http://127.0.0.1:{dashboard}", "--store", str(tmp_path / "kmcl_store")],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert job.stdout is not None
        said = []
        for line in job.stdout:
            said.append(line)
            if "1 at once" in line:
                break
        time.sleep(3 * START_TIMEOUT_SECONDS)
        assert job.poll() is None, "".join(said)
        # Nodes of one machine would share, and clear away, the folder that the job works in.
        node_words = [f"--address=127.0.0.1:{gcs}", "--num-cpus=2", f"--temp-dir={short_folder()}"]
        with ray_process(tmp_path / "node.txt", environment, *node_words):
            rest, _ = job.communicate(timeout=240)
    assert job.returncode == 0, "".join(said) + rest
    assert "2/2 done" in rest
