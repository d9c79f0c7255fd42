"""The mailbox between a trial's actor and its workers: if a worker dies, no message is lost or passed on twice."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from kmcl_platform.search.run.assignment import Assignment
from kmcl_platform.search.run.on_ray.mailbox import MAX_STARTS_WITHOUT_PROGRESS, MailboxState


def assignment(number: int) -> Assignment:
    return {"number": number, "config": {}, "checkpoints": "", "data_dir": "", "features_dir": "", "working_dir": ""}


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 5))


def test_the_successor_of_a_killed_worker_gets_the_decision() -> None:
    async def scene() -> None:
        box = MailboxState()
        await box.assign(assignment(0))
        victim = asyncio.create_task(box.report(0, [{"epoch": 1}]))
        assert (await box.next_message())["report"]["epoch"] == 1
        # The victim's process is gone, but its call still waits in the mailbox.
        assert await box.first_place() == 0
        successor = asyncio.create_task(box.report(0, [{"epoch": 1}]))
        await box.go_on(1)
        assert await successor is True
        assert await victim is True
        # The second report of epoch 1 was not passed on: the next message is epoch 2's.
        third = asyncio.create_task(box.report(0, [{"epoch": 2}]))
        assert (await box.next_message())["report"]["epoch"] == 2
        await box.assign(assignment(1))
        assert await third is False

    play(scene())


def test_a_group_that_died_after_several_epochs_repeats_them_in_other_parts() -> None:
    async def scene() -> None:
        box = MailboxState()
        await box.assign(assignment(0))
        victim = asyncio.create_task(box.report(0, [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]))
        message = await box.next_message()
        assert (message["report"], message["earlier"]) == ({"epoch": 3}, [{"epoch": 1}, {"epoch": 2}])
        await box.go_on(3)
        assert await victim is True
        # Known epochs are not passed on, and have their decision already.
        assert await box.report(0, [{"epoch": 1}, {"epoch": 2}]) is True
        successor = asyncio.create_task(box.report(0, [{"epoch": 3}, {"epoch": 4}, {"epoch": 5}]))
        message = await box.next_message()
        assert (message["report"], message["earlier"]) == ({"epoch": 5}, [{"epoch": 4}])
        await box.go_on(5)
        assert await successor is True

    play(scene())


def test_trials_are_taken_in_order_and_closing_ends_the_workers() -> None:
    async def scene() -> None:
        box = MailboxState()
        waiting = asyncio.create_task(box.take(0))
        await box.assign(assignment(7))
        taken = await waiting
        assert taken is not None
        assert taken["number"] == 7
        idle = asyncio.create_task(box.take(1))
        await box.close()
        assert await idle is None

    play(scene())


def test_trouble_is_passed_on_once_and_leaves_the_trial_open() -> None:
    async def scene() -> None:
        box = MailboxState()
        await box.assign(assignment(0))
        await box.halt(0, "no space left")
        assert await box.next_message() == {"trouble": "no space left"}
        # A group that starts while the search ends still finds the trial.
        assert await box.first_place() == 0
        await box.assign(assignment(1))
        await box.halt(0, "late")
        await box.fail(1, "its own failure")
        assert await box.next_message() == {"failure": "its own failure"}

    play(scene())


def test_a_group_that_starts_after_a_trial_ended_waits_for_the_next() -> None:
    async def scene() -> None:
        box = MailboxState()
        assert await box.first_place() == 0
        await box.assign(assignment(0))
        await box.fail(0, "diverged")
        assert await box.next_message() == {"failure": "diverged"}
        assert await box.first_place() == 1

    play(scene())


def test_a_model_that_costs_too_much_ends_its_trial() -> None:
    async def scene() -> None:
        box = MailboxState()
        assert await box.first_place() == 0
        await box.assign(assignment(0))
        await box.refuse(0, {"params_millions": 31.0})
        assert await box.next_message() == {"refused": {"params_millions": 31.0}}
        assert await box.first_place() == 1

    play(scene())


def test_a_trial_that_loses_its_group_again_and_again_fails() -> None:
    async def scene() -> None:
        box = MailboxState()
        await box.assign(assignment(0))
        for _ in range(MAX_STARTS_WITHOUT_PROGRESS):
            assert await box.first_place() == 0
            await box.note_error("RuntimeError: peer is gone")
        assert await box.first_place() == 1
        message = await box.next_message()
        assert "lost 3 times without progress: RuntimeError: peer is gone" in message["failure"]

    play(scene())


def test_a_checkpoint_within_an_epoch_is_progress() -> None:
    async def scene() -> None:
        box = MailboxState()
        await box.assign(assignment(0))
        # An epoch may take longer than any machine lives.
        for _ in range(2 * MAX_STARTS_WITHOUT_PROGRESS):
            assert await box.first_place() == 0
            await box.note_progress(0)
        await box.assign(assignment(1))
        for _ in range(MAX_STARTS_WITHOUT_PROGRESS):
            assert await box.first_place() == 1
            await box.note_progress(0)  # A late one, of the former trial.
        assert await box.first_place() == 2

    play(scene())


def test_a_probe_ends_with_its_measurement_and_the_workers_take_the_next_one() -> None:
    async def scene() -> None:
        box = MailboxState()
        await box.assign(assignment(0))
        await box.measured(0, {"seconds": 2})
        assert await box.next_message() == {"measurement": {"seconds": 2}}
        assert await box.first_place() == 1
        await box.assign(assignment(1))
        # A late message of the former probe is dropped.
        await box.measured(0, {"seconds": 3})
        await box.measured(1, {"seconds": 4})
        assert await box.next_message() == {"measurement": {"seconds": 4}}

    play(scene())


def test_a_mailbox_may_end_a_trial_at_the_first_lost_worker() -> None:
    async def scene() -> None:
        box = MailboxState(max_starts=1)
        await box.assign(assignment(0))
        assert await box.first_place() == 0
        assert await box.first_place() == 1
        assert "lost 1 time without" in (await box.next_message())["failure"]

    play(scene())


def test_a_group_that_was_ready_before_the_trial_counts_as_its_first_start() -> None:
    async def scene() -> None:
        box = MailboxState(max_starts=1)
        await box.assign(assignment(0))
        await box.measured(0, {"seconds": 2})
        await box.next_message()
        waiting = asyncio.create_task(box.take(1))
        await box.assign(assignment(1))
        assert await waiting is not None
        # The group died in its second trial: a mailbox that allows one start allows no other one.
        assert await box.first_place() == 2
        assert "lost 1 time without" in (await box.next_message())["failure"]

    play(scene())
