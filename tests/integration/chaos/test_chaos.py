"""Processes die in mid-search; the search ends, perhaps after the same command was given again, as if nothing had happened.

make chaos     # three times, in random order, with a table at the end
"""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.integration.chaos.disasters import Search, Story, find, finish, kill_all, wait_for_end
from tests.integration.test_growing_cluster import ray_process
from tests.integration.test_submit import free_port, short_folder, wait_for_port

pytestmark = pytest.mark.chaos


def test_a_training_worker_dies(search: Search, undisturbed: Story) -> None:
    process = search.start()
    os.kill(search.wait_for_epoch(process, epoch=3), signal.SIGKILL)
    before = search.look()
    finish(search, process)
    search.check(undisturbed, before)


@pytest.fixture(scope="session")
def another_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A second Ray on the machine, as where two searches run side by side: Ray Train must not take it for its own."""
    gcs, dashboard = free_port(), free_port()
    words = [
        "--head", "--num-cpus=1", f"--port={gcs}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        "--dashboard-agent-listen-port=0", f"--temp-dir={short_folder()}",
    ]  # fmt: skip
    with ray_process(tmp_path_factory.mktemp("another") / "ray.txt", dict(os.environ), *words) as head:
        wait_for_port(dashboard, head)
        yield


# A trial's actor shows as the one name while it waits and as the other while it steps.
@pytest.mark.parametrize(
    "names",
    [("ray::WarmTrial", "ray::ResourceTrainable"), ("ray::MailboxState",), ("ray::TrainController",)],
    ids=["trial", "mailbox", "controller"],
)
@pytest.mark.usefixtures("another_ray")
def test_an_actor_dies(names: tuple[str, ...], search: Search, undisturbed: Story) -> None:
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    find(process, *names).kill()
    before = search.look()
    finish(search, process)
    search.check(undisturbed, before)


def test_the_machine_dies(search: Search, undisturbed: Story) -> None:
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    kill_all(process)
    before = search.look()
    finish(search, search.start())
    search.check(undisturbed, before)


def test_the_driver_alone_dies(search: Search, undisturbed: Story) -> None:
    process = search.start()
    search.wait_for_trial(process, 1)
    orphans = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait(60)
    before = search.look()
    assert list(before.written) == [0]
    # At once: what the driver has left is still ending while its successor starts. And without the search file.
    search.file.unlink()
    finish(search, search.start("resume", "small"))
    search.check(undisturbed, before)
    # Ray's agents look for their raylet once a minute; all others follow their driver within seconds.
    _, left = psutil.wait_procs(orphans, timeout=120)
    assert left == []


def test_the_ray_head_dies(search: Search, undisturbed: Story) -> None:
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    find(process, "gcs_server").kill()
    wait_for_end(search, process, 300)
    before = search.look()
    finish(search, search.start())
    search.check(undisturbed, before)
