"""A Ray head on loopback that asks for a token, and the command that sends a search to it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.command_line import Answer, Word, kmcl_process
from tests.support.ray_cluster import RayHead, cluster_environment, ray_head


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    folder = tmp_path_factory.mktemp("head")
    with ray_head(folder / "head.txt", cluster_environment(folder / "token"), cpus=2) as running:
        yield running


def submit(
    head: RayHead,
    file: Path,
    store: Path,
    *words: Word,
    environment: Mapping[str, str] | None = None,
    checkout: Path | None = None,
) -> Answer:
    """`kmcl submit FILE` to a head.

    Args:
        head: the cluster.
        file: the search file.
        store: the store of the job.
        words: more options.
        environment: variables that are added to those of the head.
        checkout: the working directory, which is sent to the cluster. None: that of this process.
    """
    return kmcl_process(
        "submit", file, "--address", head.address, *words,
        store=store, environment={**head.environment, **(environment or {})}, folder=checkout,
    )  # fmt: skip
