"""Two searches on one Ray cluster: the first has taken all CPUs, and the second has its turn before the first has ended."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import start_kmcl
from tests.support.finished_search import end_group
from tests.support.ray_cluster import cluster_environment, ray_head
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.takes(90)]

SECONDS = 600


def test_a_second_search_has_its_turn_while_the_first_goes_on(
    tmp_path: Path, small_manifest: Path, small_search: Callable[..., Path], prepared_store: Path
) -> None:
    # With 0 seconds, workers end after any trial.
    environment = cluster_environment(KMCL_TURN_SECONDS="0")
    logs = {name: tmp_path / f"{name}.txt" for name in ("one", "other")}
    with ray_head(tmp_path / "head.txt", environment, cpus=2) as head:

        def start(name: str, trials: int) -> "subprocess.Popen[bytes]":
            (tmp_path / name).mkdir()
            file = small_search(tmp_path / name, small_manifest, epochs=1, trials=trials)
            file.write_text(file.read_text().replace("name: small", f"name: {name}"))
            words = ("search", file, "--address", head.gcs)
            return start_kmcl(*words, log=logs[name], store=prepared_store, environment=environment)

        first = start("one", trials=500)
        try:
            wait_until(
                lambda: "[1/500 done" in logs["one"].read_text(), seconds=SECONDS, process=first, log=logs["one"]
            )
            second = start("other", trials=1)
            try:
                assert second.wait(SECONDS) == 0, logs["other"].read_text()
            finally:
                end_group(second)
            # The first one has given its place, has not ended, and goes on.
            assert "its workers ended for another search of this cluster" in logs["one"].read_text()
            before = logs["one"].read_text().count(" done, best")
            wait_until(
                lambda: logs["one"].read_text().count(" done, best") > before,
                seconds=SECONDS, process=first, log=logs["one"],
            )  # fmt: skip
        finally:
            end_group(first)
