"""Data or weights that were changed after the training: `test` may now have images that were trained on."""

from pathlib import Path

import pytest

from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import open_store
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.promotion.members import read_checkpoint
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.leaderboard import LeaderboardRow
from kmcl_platform.tracking.runs.search_run import SearchRuns
from tests.registry.promotion.story import SEARCH, train
from tests.support.command_line import kmcl


@pytest.mark.takes(10)
def test_a_trial_is_not_scored_on_other_data_than_it_was_trained_on(prepared_store: Path, tmp_path: Path) -> None:
    store, manifest = open_store(prepared_store), tmp_path / "m.parquet"
    write_manifest(build_digits(num_train=32, num_val=16, num_test=16), manifest)
    content = SEARCH.format(source=manifest).encode()
    file = parse_search_file(content, "small.yaml")
    runs = SearchRuns.open(store, file, content, "small.yaml", read_manifest(manifest))
    train(store, file, runs, manifest, number=0, values={}, claimed=0.5)
    before = read_manifest(manifest).content_hash
    # As an import with --overwrite and another seed does.
    write_manifest(build_digits(num_train=32, num_val=16, num_test=17), manifest)
    after = read_manifest(manifest).content_hash
    for options in ([], ["--force", "it is the only one"]):
        answer = kmcl("promote", "small", *options, store=store.root)
        assert answer.exit_code == 2
        assert answer.stderr == (
            f"kmcl: data.source: got '{manifest}' with content hash {after[:12]}…; valid: {before[:12]}…, the data that "
            "trial 0 was trained on (restore that manifest, or begin a search with another name)\n"
        )
    assert not any(name.startswith("kmcl.test_opened") for name in connect(store).get_run(runs.parent_id).data.tags)


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 10])
def test_damaged_weights_of_a_candidate_are_named(content: bytes | None, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    weights = store.trial_checkpoints("s", 0) / "epoch-0001" / "average.safetensors"
    weights.parent.mkdir(parents=True)
    if content is not None:
        weights.write_bytes(content)
    row = LeaderboardRow(
        rank=1, number=0, outcome="completed", reason="", baseline=True, baseline_name="kmcl", kernel_terms=True, epochs=1,
        objective=0.5, values={}, run_id="r", wall_seconds=0.0,
    )  # fmt: skip
    with pytest.raises(RegistryError, match=rf"{weights}: cannot be read \(.*\); valid: the weights as"):
        read_checkpoint(store, "s", row)
