"""Archives on the disk: what is written is read again, and nothing else is read."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import DataError
from kmcl_platform.tracking.archive.archive_file import VERSION_KEY, join_archives, read_archive, write_archive
from kmcl_platform.tracking.archive.schema import COLUMNS, metric_columns, to_table
from tests.support.command_line import kmcl

METRIC = "val/mAP"


def row(trial: int, epoch: int, **changes: Any) -> dict[str, Any]:
    own: dict[str, Any] = {
        "store": "a",
        "search": "s",
        "trial": trial,
        "epoch": epoch,
        "config": json.dumps(TrialConfig().model_dump(mode="json")),
        "baseline": "",
        "outcome": "completed",
        "reason": "",
        "value": 0.5,
        "objective": METRIC,
        "mode": "maximize",
        "num_epochs": 2,
        "device": "cpu",
        "workers": 1,
        "dataset": "digits",
        "dataset_hash": "0",
        "packages": "{}",
        "seconds": 1.5,
        "time_ms": 1,
    }
    if epoch:
        own[METRIC] = 0.1 * trial + 0.2 * epoch
    return own | changes


def archive(*rows: dict[str, Any]) -> pa.Table:
    return to_table(rows, "a test")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    table = archive(row(1, 1), row(0, 2), row(0, 1), row(2, 0, outcome="diverged", value=None, seconds=None))
    path = tmp_path / "a.parquet"
    write_archive(table, path)
    read = read_archive(path)
    assert read.schema.names == [*COLUMNS.names, METRIC]
    assert metric_columns(read) == [METRIC]
    assert read.select(["trial", "epoch"]).to_pylist() == [
        {"trial": trial, "epoch": epoch} for trial, epoch in ((0, 1), (0, 2), (1, 1), (2, 0))
    ]
    assert read[METRIC].to_pylist() == [pytest.approx(0.2), pytest.approx(0.4), pytest.approx(0.3), None]
    assert TrialConfig.from_record(json.loads(read["config"][0].as_py())) == TrialConfig()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "got no rows; valid: the epochs of at least one trial"),
        ([row(0, 1), row(0, 1)], "search 's', trial 0: got epoch 1 twice; valid: once"),
        ([row(0, 1), row(0, 3)], "search 's', trial 0: got no epoch 2; valid: all epochs from 1 to the last"),
        ([row(0, 0), row(0, 1)], "search 's', trial 0: got epoch 0 with others; valid: epoch 0 only"),
        ([row(0, 1, **{METRIC: float("nan")})], f"row 0, column '{METRIC}': got nan; valid: finite numbers"),
        (
            [row(0, 1, **{METRIC: 1e300})],
            f"column '{METRIC}': got 1e+300; valid: finite numbers from -1e+100 to 1e+100",
        ),
        ([row(0, 1, seconds=-5.0)], "row 0, column 'seconds': got -5.0; valid: finite numbers from 0 to 1e+100"),
        ([row(0, 1, seconds=float("nan"))], "row 0, column 'seconds': got nan; valid: finite numbers"),
        ([row(0, 1, value=float("inf"))], "row 0, column 'value': got inf; valid: finite numbers"),
        ([row(0, 1, dataset_hash=None)], "row 0, column 'dataset_hash': got no value; valid: a value in every row"),
        ([row(0, 1, config=None)], "row 0, column 'config': got no value; valid: a value in every row"),
    ],
)
def test_rows_that_are_no_archive_are_refused(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match="a test: ") as error:
        archive(*rows)
    assert message in str(error.value)


def write(path: Path, table: pa.Table, version: bytes | None = b"1") -> Path:
    pq.write_table(table.replace_schema_metadata({VERSION_KEY: version} if version else {}), path)
    return path


def test_files_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    good = archive(row(0, 1))
    cases = {
        "missing.parquet": (None, "cannot be read (No such file or directory)"),
        "other.parquet": (write(tmp_path / "other.parquet", good, None), "got a Parquet file that is no archive"),
        "newer.parquet": (write(tmp_path / "newer.parquet", good, b"7"), "got version '7'; valid: 1, that of this"),
        "less.parquet": (write(tmp_path / "less.parquet", good.drop_columns(["seconds"])), "got none named 'seconds'"),
        "twice.parquet": (
            write(tmp_path / "twice.parquet", good.append_column(METRIC, good[METRIC])),
            f"columns: got '{METRIC}' twice; valid: each column once",
        ),
        "more.parquet": (
            write(tmp_path / "more.parquet", good.append_column("x", pa.array([1]))),
            "columns: got 'x'; valid: an archive of `kmcl archive`",
        ),
    }
    (tmp_path / "text.parquet").write_text("text")
    for name, message in [*((name, message) for name, (_, message) in cases.items()), ("text.parquet", "not Parquet")]:
        with pytest.raises(DataError) as error:
            read_archive(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name)) and message in str(error.value)


def test_archives_are_joined(tmp_path: Path) -> None:
    first = archive(row(0, 1, **{"train/loss": 2.0}), row(1, 1))
    second = archive(row(0, 1, store="b"), row(1, 1))
    joined = join_archives([first, second], "both")
    # Trial 1 is in both, and once in the result. The searches of two stores are different ones.
    assert joined.num_rows == 3
    with pytest.raises(DataError, match=r"trial 1, epoch 1, column 'val/mAP': got 0.3\d* and 0.9; valid: the same"):
        join_archives([first, archive(row(1, 1, **{METRIC: 0.9}))], "both")


def test_the_command_joins_and_keeps_files(tmp_path: Path) -> None:
    for name, trial in (("a", 0), ("b", 1)):
        write_archive(archive(row(trial, 1)), tmp_path / f"{name}.parquet")
    joins = ["--join", tmp_path / "a.parquet", "--join", tmp_path / "b.parquet"]
    out = tmp_path / "c.parquet"
    done = kmcl("archive", *joins, "--to", out, store=tmp_path / "none")
    assert done.exit_code == 0, done.output
    assert "(2 trials, 2 rows, " in done.stdout
    assert not (tmp_path / "none").exists()
    before = out.read_bytes()
    for words, message in (
        (["--to", out, *joins], f"--to: got {out}, which exists; valid: a new file, or --overwrite"),
        (["--to", tmp_path / "d.csv", *joins], "valid: the path of an archive (*.parquet)"),
        (["--to", tmp_path / "d.parquet"], "names: got none; valid: the names of searches, or --join"),
        (["nothing", "--to", tmp_path / "d.parquet"], "no search has been run here"),
    ):
        refused = kmcl("archive", *words, store=tmp_path / "none")
        assert refused.exit_code == 2 and refused.output.count("\n") == 1 and message in refused.output
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet", "c.parquet"]
