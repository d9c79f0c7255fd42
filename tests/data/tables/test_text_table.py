"""CSV and Parquet as text: delimiters, encodings, line ends, compression, and messages of a bounded length."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kmcl_platform.data.tables.encodings import decode_text, find_encoding, split_lines
from kmcl_platform.data.tables.text_table import read_text_table
from kmcl_platform.errors import DataError

ROWS = [["image", "split", "café"], ["a b.png", "train", "1"], ['c"1".png', "val", "0"]]
EXPECTED = {"image": ["a b.png", 'c"1".png'], "split": ["train", "val"], "café": ["1", "0"]}


def csv_text(delimiter: str = ",", end: str = "\n") -> str:
    quoted = [
        [f'"{cell}"'.replace('"1"', '""1""') if " " in cell or '"' in cell else cell for cell in row] for row in ROWS
    ]
    return "".join(delimiter.join(row) + end for row in quoted)


def read(path: Path, data: bytes, **options: str) -> dict[str, list[str]]:
    path.write_bytes(data)
    return read_text_table(path, ["image"], **options).to_dict("list")  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_delimiter_is_detected(tmp_path: Path, delimiter: str, end: str) -> None:
    assert read(tmp_path / "t.csv", csv_text(delimiter, end).encode()) == EXPECTED
    assert read(tmp_path / "t.tsv", csv_text(delimiter, end).encode(), delimiter=delimiter) == EXPECTED


def test_a_delimiter_within_a_name_is_not_a_delimiter(tmp_path: Path) -> None:
    text = "image;red, or pink;big, or wide\na.png;1;0\n"
    assert list(read(tmp_path / "t.csv", text.encode())) == ["image", "red, or pink", "big, or wide"]


def test_excel_states_its_delimiter(tmp_path: Path) -> None:
    assert read(tmp_path / "t.csv", ("sep=#\r\n" + csv_text("#", "\r\n")).encode()) == EXPECTED


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_encodings_are_detected(tmp_path: Path, encoding: str) -> None:
    assert read(tmp_path / "t.csv", csv_text().encode(encoding)) == EXPECTED


def test_an_encoding_can_be_given(tmp_path: Path) -> None:
    data = csv_text().encode("latin-1")
    with pytest.raises(DataError) as caught:
        read(tmp_path / "t.csv", data)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/t.csv: line 1: got byte 0xe9, not UTF-8; valid: a text in UTF-8 or UTF-16")
    assert f"iconv -f latin1 -t utf-8 {tmp_path}/t.csv -o {tmp_path}/utf8-t.csv" in message
    assert read(tmp_path / "t.csv", data, encoding="latin-1") == EXPECTED
    with pytest.raises(DataError, match="^encoding: got 'latin-99'; valid: "):
        read(tmp_path / "t.csv", data, encoding="latin-99")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_tables_are_read(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert read(tmp_path / "t.csv.any", pack(csv_text().encode())) == EXPECTED


def test_parquet_under_another_name_is_read(tmp_path: Path) -> None:
    frame = pd.DataFrame({"image": ["a.png", "b.png"], "id": [3.0, None], "ok": [True, None], "Unnamed: 0": [0, 1]})
    frame.to_parquet(tmp_path / "t.pq")
    assert read_text_table(tmp_path / "t.pq", ["image"]).to_dict("list") == {
        "image": ["a.png", "b.png"],
        "id": ["3", ""],
        "ok": ["True", ""],
    }


def test_a_row_that_ends_early_has_empty_cells(tmp_path: Path) -> None:
    assert read(tmp_path / "t.csv", b"image,split,cat\na.png\n") == {"image": ["a.png"], "split": [""], "cat": [""]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04...", "an archive or an Excel workbook"),
        (b"picture\tsplit\na\ttrain\n", "columns: 'image' missing; got 'picture', 'split'; valid: "),
        (b"image,image \na,b\n", "columns 'image' appear twice"),
        (b'image,cat\n"a,1\n', "cannot be read: the quotes that begin in line 2 do not end; valid: "),
        (
            b"image,tags\na,cat\nb,cat,dog\n",
            "cannot be read: line 3 has 3 columns, the lines before it 2 (the delimiter is ','; a text that contains it "
            "needs quotes); valid: ",
        ),
        (b"\x1f\x8bno gzip", "cannot be read: "),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / "t.csv", data)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_delimiter_of_two_characters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="^delimiter: got ', '; valid: one character"):
        read(tmp_path / "t.csv", b"image, split\n", delimiter=", ")


def test_a_column_of_structures_is_refused_if_it_is_needed(tmp_path: Path) -> None:
    pd.DataFrame({"image": [{"path": "a.png"}]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="column 'image' is of type struct<path: .*string>, not text; valid: "):
        read_text_table(tmp_path / "t.parquet", ["image"])


def test_lines_and_encodings_of_any_system_are_read(tmp_path: Path) -> None:
    assert split_lines("a\r\nb\rc\nd\x0ce\u2028f") == ["a", "b", "c", "d\x0ce\u2028f"]
    assert find_encoding(b"") == "utf-8"
    assert decode_text(tmp_path, b"\xef\xbb\xbfa", "utf-8") == "a"
