import json
import tracemalloc
from pathlib import Path

import pytest

from kmcl_platform.data.progress import silent
from kmcl_platform.data.readers import json_stream
from kmcl_platform.data.readers.coco import read_coco
from kmcl_platform.data.readers.json_stream import read_objects
from kmcl_platform.errors import DataError
from tests.data.fixtures import coco_document, write_coco, write_coco_json
from tests.data.readers.rows import rows_of


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_labels_and_splits_are_read(tmp_path: Path, year: str) -> None:
    manifest = read_coco(write_coco(tmp_path, year), year=year, val_fraction=0.3)
    prefix = {"train": "COCO_train2014_", "val": "COCO_val2014_"} if year == "2014" else {"train": "", "val": ""}
    # The ids 1, 13 and 90 are listed in another order. The classes are in the order of their ids.
    assert manifest.class_names == ("person", "stop sign", "toothbrush")
    rows = rows_of(manifest)

    def labels(part: str, number: int) -> dict[str, int]:
        split, found = rows[f"{part}{year}/{prefix[part]}{number:012d}.jpg"]
        assert split in ({"train", "val"} if part == "train" else {"test"})
        return found

    assert len(rows) == 9
    assert labels("train", 9) == {"person": 1, "toothbrush": 1}
    assert labels("train", 25) == {"stop sign": 1}
    assert labels("train", 30) == {"toothbrush": 1}
    # An image without annotation is kept. It is negative for every class.
    assert labels("train", 36) == {}
    assert labels("val", 133) == {}
    assert labels("val", 42) == {"stop sign": 1}
    assert 0 < [split for split, _ in rows.values()].count("val") < 4
    assert manifest.encoded_image("test", 0)[:3] == b"\xff\xd8\xff"


def test_images_without_annotation_are_dropped_by_an_option(tmp_path: Path) -> None:
    rows = rows_of(read_coco(write_coco(tmp_path), year="2017", all_negative="drop", val_fraction=0.3))
    assert len(rows) == 7
    assert not {"train2017/000000000036.jpg", "val2017/000000000133.jpg"} & set(rows)


def test_crowds_are_unknown_by_an_option(tmp_path: Path) -> None:
    rows = rows_of(
        read_coco(write_coco(tmp_path), year="2017", crowds="unknown", all_negative="drop", val_fraction=0.3)
    )
    assert rows["train2017/000000000030.jpg"][1] == {"toothbrush": -1}
    # A crowd changes nothing if the image also has an instance of its class.
    assert rows["train2017/000000000034.jpg"][1] == {"stop sign": 1}
    assert rows["val2017/000000000073.jpg"][1] == {"person": -1}


@pytest.mark.parametrize("values", [("0", "1"), ("false", "true"), (False, True), (None, "1.0")])
def test_a_crowd_flag_may_be_text(tmp_path: Path, values: tuple[object, object]) -> None:
    write_coco(tmp_path)
    expected = read_coco(tmp_path, crowds="unknown", val_fraction=0.3).content_hash
    for part in ("train", "val"):
        document = coco_document("2017", part)
        for item in document["annotations"]:  # type: ignore[attr-defined]
            item["iscrowd"] = values[item["iscrowd"]]
        write_coco_json(tmp_path, "2017", part, document)
    assert read_coco(tmp_path, crowds="unknown", val_fraction=0.3).content_hash == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_annotations_are_read_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    write_coco(tmp_path)
    expected = read_coco(tmp_path, val_fraction=0.3).content_hash
    path = tmp_path / "annotations" / "instances_train2017.json"
    path.write_bytes(path.read_text().replace(", ", ",\r\n").encode(encoding))
    assert read_coco(tmp_path, val_fraction=0.3).content_hash == expected


@pytest.mark.parametrize(
    ("key", "entry", "message"),
    [
        (
            "annotations",
            {"id": 7, "image_id": 5, "category_id": 1},
            "annotations: image_id: 1 ids are not listed (first: 5)",
        ),
        (
            "annotations",
            {"id": 7, "image_id": 9, "category_id": 2},
            "annotations: category_id: 1 ids are not listed (first: 2)",
        ),
        ("annotations", {"id": 7, "image_id": "9", "category_id": 2}, "annotations: id 7: image_id: got '9'"),
        ("images", {"id": 9, "file_name": "other.jpg"}, "images: id 9: got 'other.jpg'; valid: each id once"),
        ("images", {"id": 10, "file_name": "000000000009.jpg"}, "1 file names appear twice ('000000000009.jpg')"),
        (
            "annotations",
            {"id": 7, "image_id": 9, "category_id": 1, "iscrowd": "maybe"},
            "annotations: id 7: iscrowd: got 'maybe'; valid: 0 or 1",
        ),
        ("categories", {"id": 2}, "categories: id 2: got None; valid: each id once, with name"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, key: str, entry: dict[str, object], message: str) -> None:
    document = coco_document("2017", "train")
    document[key].append(entry)  # type: ignore[attr-defined]
    write_coco(tmp_path)
    path = write_coco_json(tmp_path, "2017", "train", document)
    with pytest.raises(DataError) as caught:
        read_coco(tmp_path, year="2017")
    assert str(caught.value).startswith(f"{path}: {message}")


def test_missing_images_and_files_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path)
    (tmp_path / "val2017" / "000000000073.jpg").unlink()
    with pytest.raises(DataError, match=r"val2017: 1 images are missing \('000000000073.jpg'\)"):
        read_coco(tmp_path, year="2017")
    with pytest.raises(DataError, match="annotations/instances_train2014.json is missing"):
        read_coco(tmp_path, year="2014")


@pytest.mark.parametrize("option", ["year", "crowds", "all_negative"])
def test_an_unknown_option_is_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(DataError, match=f"^{option}: got 'x'; valid: "):
        read_coco(tmp_path, **{option: "x"})  # type: ignore[arg-type]


def objects(path: Path) -> list[tuple[str, dict[str, object]]]:
    return list(read_objects(path, ("a", "b"), silent))


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_stream_gives_what_json_gives(
    tmp_path: Path, chunk: int, indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    document = {
        "n": 1234567,
        "a": [{"x": 'é}]\\"', "y": [1.5, [2e-7]]}, {}],
        "skip": {"a": [{"no": 1}]},
        "b": [{"z": None}],
        "e": [],
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert objects(path) == [("a", item) for item in document["a"]] + [("b", {"z": None})]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": [{"x": 1}, {"y": ', "the file is cut off"),
        (b'{"a": [{"x": 1}', "got ''"),
        (b'{"a": [{"x": 1} {"y": 2}]}', "got '{'"),
        (b'{"a": [], "c": []}', "b: missing"),
        (b'{"a": [1], "b": []}', "a: got 1;"),
        (b'{"a": {"x": 1}, "b": []}', "got '{'"),
        (b"[]", "got '['"),
        (b"", "the file ends"),
        (b'{"a": [{"x": "\xff"}], "b": []}', "bytes that are not UTF-8"),
    ],
)
def test_broken_json_names_the_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        objects(path)
    assert str(caught.value).startswith(f"{path}: near byte ")
    assert message in str(caught.value)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    entry = json.dumps({"segmentation": [[i / 7 for i in range(200)]], "image_id": 1})
    with path.open("w") as file:
        file.write('{"b": [], "a": [' + ", ".join([entry] * 8000) + "]}")
    assert path.stat().st_size > 20e6
    tracemalloc.start()
    count = sum(1 for _ in read_objects(path, ("a", "b"), silent))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 8000
    assert peak < 8e6
