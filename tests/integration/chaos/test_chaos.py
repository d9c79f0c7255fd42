"""Processes of a search are killed; the search ends as if nothing had happened, if need be after a second start.

make chaos     # three times, in random order, with a table at the end
"""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.integration.chaos.disasters import Search, Story, finish, wait_for_end
from tests.support.processes import find_descendant, kill_family
from tests.support.ray_cluster import ray_head

pytestmark = pytest.mark.chaos


def test_a_training_worker_dies(search: Search, undisturbed: Story) -> None:
    process = search.start()
    os.kill(search.wait_for_epoch(process, epoch=3), signal.SIGKILL)
    before = search.look()
    finish(search, process)
    search.check(undisturbed, before)


@pytest.fixture(scope="session")
def another_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A second Ray on the machine, as when two searches run: Ray Train must not confuse it with its own."""
    with ray_head(tmp_path_factory.mktemp("another") / "ray.txt", dict(os.environ), cpus=1):
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
    find_descendant(process, *names).kill()
    before = search.look()
    finish(search, process)
    search.check(undisturbed, before)


def test_the_machine_dies(search: Search, undisturbed: Story) -> None:
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    kill_family(process)
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
    # Without waiting: the processes that the driver left are still ending while the next driver starts.
    # And without the search file.
    search.file.unlink()
    finish(search, search.start("resume", "small"))
    search.check(undisturbed, before)
    # Ray's agents look for their raylet once a minute; all others follow their driver within seconds.
    _, left = psutil.wait_procs(orphans, timeout=120)
    assert left == []


def test_the_ray_head_dies(search: Search, undisturbed: Story) -> None:
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    find_descendant(process, "gcs_server").kill()
    wait_for_end(search, process, 300)
    before = search.look()
    finish(search, search.start())
    search.check(undisturbed, before)
