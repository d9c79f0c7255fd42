"""The columns of an archive: one row for each epoch of each trial that has ended."""

from collections.abc import Iterable
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_value

ARCHIVE_VERSION = 1
"""Version of these columns, in the metadata of a file."""

_TEXT = pa.string()

COLUMNS = pa.schema(
    [
        # Which trial. The store is its id, so that searches of one name from several stores stay apart.
        ("store", _TEXT),
        ("search", _TEXT),
        ("trial", pa.int32()),
        # From 1. A trial that ended before its first epoch has one row, with epoch 0 and without metrics.
        ("epoch", pa.int32()),
        # Of the trial, the same in all its rows: every field of its configuration as JSON, its baseline's name (empty:
        # it is none), how it ended and why, and the study's value (null: it has none).
        ("config", _TEXT),
        ("baseline", _TEXT),
        ("outcome", _TEXT),
        ("reason", _TEXT),
        ("value", pa.float64()),
        # Of the search, the same in all its rows: metric and mode of its objective, the epochs of a whole trial.
        ("objective", _TEXT),
        ("mode", _TEXT),
        ("num_epochs", pa.int32()),
        # Where it was computed: `cpu` or `gpu`, workers of a trial, name and content hash of the dataset, and the
        # versions of Python and of the packages that decide the numbers, as JSON.
        ("device", _TEXT),
        ("workers", pa.int32()),
        ("dataset", _TEXT),
        ("dataset_hash", _TEXT),
        ("packages", _TEXT),
        # Of the epoch: seconds of training and evaluation, and when it ended, in milliseconds since 1970.
        ("seconds", pa.float64()),
        ("time_ms", pa.int64()),
    ]
)
"""The fixed columns, all of which a file has. Every other column has a `/` in its name, such as `val/mAP`: it is the
metric of that name after the epoch, float64, null where the trial has none."""

_LARGEST = 1e100
"""Above it, squares of values are no numbers any more."""

KEY = ("store", "search", "trial", "epoch")
"""The columns that name a row: no two rows of an archive are equal in all of them."""


def metric_columns(table: pa.Table) -> list[str]:
    """The names of the metrics in an archive."""
    return [name for name in table.column_names if "/" in name]


def check_archive(table: pa.Table, where: str) -> pa.Table:
    """Check an archive, and return it with its fixed columns in their order and types.

    Args:
        table: its rows.
        where: the file, for messages.

    Raises:
        DataError: a column is missing or has another type, the archive has no rows or two rows of one epoch, an epoch
            of a trial is missing, or a metric is not finite.
    """
    for field in COLUMNS:
        if field.name not in table.column_names:
            raise DataError(f"{where}: columns: got none named {field.name!r}; valid: an archive of `kmcl archive`")
    twice = next((name for name in table.column_names if table.column_names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{where}: columns: got {twice!r} twice; valid: each column once")
    metrics = metric_columns(table)
    strange = [name for name in table.column_names if name not in COLUMNS.names and name not in metrics]
    if strange:
        raise DataError(f"{where}: columns: got {show_value(strange[0])}; valid: an archive of `kmcl archive`")
    try:
        schema = pa.schema([*COLUMNS, *(pa.field(name, pa.float64()) for name in metrics)])
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{where}: {' '.join(str(error).split())}; valid: an archive of `kmcl archive`") from None
    if not table.num_rows:
        raise DataError(f"{where}: got no rows; valid: the epochs of at least one trial")
    for name in (*KEY, "dataset", "dataset_hash", "config", "outcome", "objective", "mode", "num_epochs"):
        if table[name].null_count:
            row = pc.index(pc.is_null(table[name]), True).as_py()
            raise DataError(f"{where}: row {row}, column {name!r}: got no value; valid: a value in every row")
    for name in ("value", "seconds", *metrics):
        low = 0.0 if name == "seconds" else -_LARGEST
        # Null is a metric that the trial does not have; NaN is a number that nobody can compare.
        number = pc.fill_null(table[name], 0.0)
        # A comparison with NaN is false.
        valid = pc.and_(pc.greater_equal(number, low), pc.less_equal(number, _LARGEST))
        if not pc.all(valid).as_py():
            row = pc.index(valid, False).as_py()
            raise DataError(
                f"{where}: row {row}, column {name!r}: got {table[name][row].as_py()}; valid: finite numbers from "
                f"{low:g} to {_LARGEST:g}"
            )
    _check_epochs(table, where)
    return table


def _check_epochs(table: pa.Table, where: str) -> None:
    trials: dict[tuple[str, str, int], list[int]] = {}
    for store, search, trial, epoch in zip(*(table[name].to_pylist() for name in KEY), strict=True):
        trials.setdefault((store, search, trial), []).append(epoch)
    for (_, search, trial), epochs in trials.items():
        epochs.sort()
        if epochs == [0] or epochs == list(range(1, len(epochs) + 1)):
            continue
        where_trial = f"{where}: search {search!r}, trial {trial}"
        twice = next((a for a, b in pairwise(epochs) if a == b), None)
        if twice is not None:
            raise DataError(f"{where_trial}: got epoch {twice} twice; valid: once")
        if epochs[0] < 1:
            raise DataError(f"{where_trial}: got epoch {epochs[0]} with others; valid: epoch 0 only without others")
        missing = next(epoch for epoch in range(1, max(epochs) + 1) if epoch not in epochs)
        raise DataError(f"{where_trial}: got no epoch {missing}; valid: all epochs from 1 to the last")


def to_table(rows: Iterable[dict[str, object]], where: str) -> pa.Table:
    """A checked archive of rows, whose metrics may differ from row to row."""
    rows = list(rows)
    metrics = sorted({name for row in rows for name in row if "/" in name})
    schema = pa.schema([*COLUMNS, *(pa.field(name, pa.float64()) for name in metrics)])
    return check_archive(pa.Table.from_pylist([{n: row.get(n) for n in schema.names} for row in rows], schema), where)
