"""The values of an archive's trials as columns, as docs/archive.md shows it."""

import re
from pathlib import Path

import pytest

from kmcl_platform.tracking.archive.archive_file import read_archive

DOCS = Path(__file__).parents[3] / "docs" / "archive.md"
CURVES = Path(__file__).parents[3] / "benchmarks" / "curves" / "digits.parquet"


def test_every_value_becomes_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    code = next(
        text for text in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "json_normalize" in text
    )
    exec(code, {"curves": read_archive(CURVES).to_pandas()})
    shown = capsys.readouterr().out
    assert re.search(r"optim.lr +loss.temperature +value", shown)
    assert re.search(r"digits_curves", shown)
