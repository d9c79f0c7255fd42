"""What the writer makes of the entries that wait."""

from kmcl_platform.tracking.writing.outbox import Entry
from kmcl_platform.tracking.writing.writer import _group


def entries(*words: str) -> list[Entry]:
    """`epoch 3`: an epoch of trial 3; `progress`: of the search."""
    made = []
    for place, word in enumerate(words, start=1):
        kind, _, number = word.partition(" ")
        made.append(Entry(place, kind, 1000 + place, {"number": int(number)} if number else {}))
    return made


def places(groups: list[list[Entry]]) -> list[list[int]]:
    return [[entry.place for entry in group] for group in groups]


def test_epochs_of_trials_that_run_at_the_same_time_are_one_request_for_each_trial() -> None:
    waiting = entries("epoch 1", "epoch 2", "epoch 3", "epoch 1", "progress", "epoch 2", "epoch 3", "epoch 1")
    assert places(_group(waiting)) == [[1, 4, 8], [2, 6], [3, 7], [5]]


def test_no_epoch_passes_the_beginning_or_the_end_of_its_trial() -> None:
    waiting = entries(
        "begin 1", "epoch 1", "begin 2", "epoch 2", "epoch 1", "end 1", "epoch 2", "figures 1", "begin 3", "epoch 3"
    )
    assert places(_group(waiting)) == [[1], [2, 5], [3], [4, 7], [6], [8], [9], [10]]
    # An epoch that is reported again after a restart, behind the trial's end.
    assert places(_group(entries("epoch 1", "end 1", "epoch 1"))) == [[1], [2], [3]]
