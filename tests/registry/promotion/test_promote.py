"""Promotions: of a first champion, of the same trial again, of a candidate that only looked better, of a better one."""

import json
from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.database import connect
from tests.registry.promotion.story import SEARCH, Story, promote
from tests.support.command_line import kmcl

pytestmark = [pytest.mark.story, pytest.mark.takes(60)]


def test_a_first_champion_needs_no_rival(story: Story) -> None:
    first = story.answers["first"]
    assert first.exit_code == 0
    assert "promoted:" in first.output
    assert "models:/small@champion (version 1)" in first.output


def test_a_second_promotion_of_the_same_trial_makes_no_version(story: Story) -> None:
    assert story.answers["again"].exit_code == 0
    assert "already the champion" in story.answers["again"].output


def test_a_candidate_that_only_looked_better_is_refused(story: Story) -> None:
    refused = story.answers["looked_better"]
    assert refused.exit_code == 3
    assert "gate FAILED: mAP against the champion -0." in refused.output
    assert "gate passed: reload parity " in refused.output
    assert "trial 1 is not promoted; version 1 stays the champion" in refused.output


def test_a_better_candidate_gets_the_alias(story: Story) -> None:
    better = story.answers["is_better"]
    assert better.exit_code == 0, better.output
    assert "gate passed: mAP against the champion +0." in better.output
    assert "gate passed: reload parity " in better.output
    version = connect(story.store).get_model_version("small", "2")
    assert version.tags["kmcl.number"] == "2"


def test_a_refused_candidate_leaves_nothing_in_the_registry(story: Story) -> None:
    assert story.logged_when_refused == 2


def test_the_test_split_is_opened_once_for_each_model(story: Story) -> None:
    answers = story.answers
    assert "the test split of this data was opened for 1 model\n" in answers["first"].output
    assert "opened for 2 models" in answers["looked_better"].output
    assert "opened for 3 models" in answers["is_better"].output
    assert answers["refused_again"].exit_code == 3
    assert "opened for 4 models" in answers["refused_again"].output
    assert "opened for 4 models" in answers["forced"].output


def test_force_needs_a_reason_which_the_card_has(story: Story) -> None:
    forced = story.answers["forced"]
    assert forced.exit_code == 0, forced.output
    assert "gate FAILED: mAP against the champion" in forced.output
    assert "(version 3)" in forced.output
    version = connect(story.store).get_model_version("small", "3")
    assert "**Promoted by force**: the others are worse on our own images" in version.description
    assert promote(story.store, "--force").exit_code == 2


def test_rollback_restores_the_former_champion(story: Story) -> None:
    back = story.answers["back"]
    assert back.exit_code == 0
    assert back.output == "model small: version 2 is the champion again, version 3 is `previous`\n"
    client = connect(story.store)
    aliases = {name: str(client.get_model_version_by_alias("small", name).version) for name in ("champion", "previous")}
    assert aliases == {"champion": "2", "previous": "3"}


def test_the_history_has_every_move(story: Story) -> None:
    moves = json.loads(kmcl("history", "small", "--json", store=story.store.root).output)
    assert [(one["kind"], one["before"], one["after"]) for one in moves] == [
        ("promote", "", "1"), ("promote", "1", "2"), ("force", "2", "3"), ("rollback", "3", "2")
    ]  # fmt: skip
    assert moves[2]["reason"].endswith(": the others are worse on our own images")
    assert moves[3]["reason"] == "it was not"
    shown = kmcl("history", "small", store=story.store.root).output
    assert len(shown.splitlines()) == 5
    assert "trial 2, test/mAP 0." in shown


def test_bounds_come_from_the_file_that_is_given(story: Story, story_copy: Path, tmp_path: Path) -> None:
    bounds = "promotion: {max_size_mb: 0.001, max_latency_ms: 1e-6, max_calibration_error: 1e-9}\n"
    file = tmp_path / "strict.yaml"
    file.write_text(SEARCH.format(source=story.manifest) + bounds)
    refused = promote(open_store(story_copy), "--file", str(file))
    assert refused.exit_code == 3
    for gate in ("size (MB)", "latency (ms)", "calibration error"):
        assert f"gate FAILED: {gate} " in refused.output
    assert "version 2 stays the champion" in refused.output
    file.write_text(SEARCH.format(source=story.manifest) + "promotion: {margin: -1}\n")
    wrong = promote(open_store(story_copy), "--file", str(file))
    assert wrong.exit_code == 2
    assert "promotion.margin: got -1" in wrong.stderr


def test_promotion_writes_nothing_where_it_is_run(story: Story) -> None:
    assert list(story.empty.iterdir()) == []
