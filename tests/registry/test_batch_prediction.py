"""Prediction of folders and manifests: the numbers of single images, complete files, and mistakes in one line."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file

from kmcl_platform.cli.main import main
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.data.pack.write_shards import pack
from kmcl_platform.data.storage.location import parse_location
from kmcl_platform.errors import DataError
from kmcl_platform.registry import batch_prediction
from kmcl_platform.registry.batch_prediction import (
    find_images,
    images_of_manifest,
    images_of_paths,
    predict_to_parquet,
)
from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.model.error_detection import binary_entropy
from kmcl_platform.registry.model.load import RegisteredModel
from kmcl_platform.registry.model.model_folder import read_predictor, write_model
from kmcl_platform.training.build import build_model
from kmcl_platform.training.workers.random_state import seed_everything

CLASSES = [str(digit) for digit in range(10)]
RULE = DecisionRule(1.5, tuple(np.linspace(0.4, 0.6, 10).tolist()), "f1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RegisteredModel:
    """Random weights: scores are near one half, some labels are predicted and some are not."""
    folder = tmp_path_factory.mktemp("model")
    config = TrialConfig().with_values({"data.image_size": 32, "model.backbone": "test_byobnet"})
    seed_everything(0)
    save_file(build_model(config, 10).state_dict(), folder / "weights.safetensors")
    write_model(folder / "model", folder / "weights.safetensors", config, CLASSES, RULE)
    return RegisteredModel("models:/m/7", read_predictor(folder / "model", torch.device("cpu")))


@pytest.fixture(scope="module")
def manifest(small_manifest: Path) -> Manifest:
    return read_manifest(small_manifest)


def check(table: pd.DataFrame, model: RegisteredModel, encoded: list[bytes]) -> None:
    """Every number is that of a prediction of the single image."""
    calibrated_NK = RULE.calibrate(model.predictor.predict(encoded).scores_NK)
    entropy_NK = binary_entropy(calibrated_NK)
    assert not any(name.startswith("uncertainty") for name in table.columns)
    decided_NK = calibrated_NK > np.array(RULE.thresholds)
    assert decided_NK.any() and not decided_NK.all()
    for k, name in enumerate(CLASSES):
        assert table[f"score: {name}"].to_numpy() == pytest.approx(calibrated_NK[:, k], abs=1e-5)
        assert table[f"entropy: {name}"].to_numpy() == pytest.approx(entropy_NK[:, k], abs=1e-4)
        assert (table[f"decision: {name}"].to_numpy() == decided_NK[:, k]).all()
    assert [set(labels.split("|")) - {""} for labels in table["labels"]] == [
        {CLASSES[k] for k in np.flatnonzero(decided_K)} for decided_K in decided_NK
    ]


@pytest.mark.parametrize("form", ["embedded", "packed"])
def test_a_manifest_is_predicted_with_its_targets(
    form: str, model: RegisteredModel, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "packed":
        manifest = pack(manifest, parse_location(tmp_path / "packed"), group_images=16, progress=lambda *_: None)
    monkeypatch.setattr(batch_prediction, "ROW_GROUP", 50)
    calls: list[tuple[str, int, int]] = []
    out = tmp_path / "out.parquet"
    images = images_of_manifest(manifest, "val", CLASSES)
    assert predict_to_parquet(model, images, out, lambda *words: calls.append(words)) == 97
    assert calls == [("images", 64, 97), ("images", 97, 97)]
    table = pd.read_parquet(out)
    check(table, model, [manifest.encoded_image("val", row) for row in range(97)])
    expected = ["val#0", "val#96"] if form == "embedded" else manifest.split("val")["image"].to_pylist()[::96]
    assert table["image"].tolist()[::96] == expected
    assert (table[[f"target: {name}" for name in CLASSES]].to_numpy() == manifest.targets("val")).all()
    file = pq.ParquetFile(out)
    assert file.num_row_groups == 2
    assert file.schema_arrow.metadata[b"kmcl.model"] == b"models:/m/7"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["out.parquet", *["packed"] * (form == "packed")])


def test_targets_are_put_into_the_order_of_the_models_classes(
    model: RegisteredModel, manifest: Manifest, tmp_path: Path
) -> None:
    reversed_classes = Manifest(
        name="reversed",
        version="1",
        class_names=manifest.class_names[::-1],
        table=manifest.table.set_column(
            manifest.table.column_names.index("targets"),
            "targets",
            [[row[::-1] for row in manifest.table["targets"].to_pylist()]],
        ),
        content_hash="",
        root=None,
    )
    images = images_of_manifest(reversed_classes, "test", CLASSES)
    predict_to_parquet(model, images, tmp_path / "out.parquet", lambda *_: None)
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert (table[[f"target: {name}" for name in CLASSES]].to_numpy() == manifest.targets("test")).all()


def write_images(folder: Path, manifest: Manifest) -> list[bytes]:
    encoded = [manifest.encoded_image("test", row) for row in range(3)]
    (folder / "deeper").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name, data in zip(["a.png", "deeper/b.PNG", "c.jpeg"], encoded, strict=True):
        (folder / name).write_bytes(data)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden" / "d.png").write_bytes(encoded[0])
    return [encoded[0], encoded[2], encoded[1]]


def test_a_folder_is_predicted(model: RegisteredModel, manifest: Manifest, tmp_path: Path) -> None:
    encoded = write_images(tmp_path / "images", manifest)
    paths, others = find_images(tmp_path / "images")
    assert others == {".txt": 1, "hidden": 1}
    assert [path.relative_to(tmp_path / "images").as_posix() for path in paths] == ["a.png", "c.jpeg", "deeper/b.PNG"]
    predict_to_parquet(model, images_of_paths(paths, CLASSES), tmp_path / "out.parquet", lambda *_: None)
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert table["image"].tolist() == [str(path) for path in paths]
    assert not any(name.startswith("target: ") for name in table.columns)
    check(table, model, encoded)


def test_names_that_are_not_utf8_are_refused_in_one_line(tmp_path: Path) -> None:
    """A Parquet file cannot hold such names: pyarrow raises UnicodeEncodeError."""
    (tmp_path / "a.png").write_bytes(b"")
    for name in (b"caf\xe9.png", b"d\xe9j\xe0.png"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    paths, _ = find_images(tmp_path)
    with pytest.raises(DataError) as caught:
        images_of_paths(paths, CLASSES)
    assert str(caught.value).startswith(f"{tmp_path}/caf\\xe9.png and 1 more: got a name that is not UTF-8; valid: ")
    str(caught.value).encode()


def test_an_unreadable_image_is_named_and_nothing_is_left(
    model: RegisteredModel, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One image in each batch, so that some are written before the broken one is read.
    monkeypatch.setattr(batch_prediction, "BATCH_SIZE", 1)
    monkeypatch.setattr(batch_prediction, "ROW_GROUP", 1)
    write_images(tmp_path / "images", manifest)
    broken = tmp_path / "images" / "b.png"
    broken.write_bytes(b"no image")
    out = tmp_path / "out.parquet"
    out.write_bytes(b"the file before")
    with pytest.raises(DataError) as caught:
        images = images_of_paths(find_images(tmp_path / "images").paths, CLASSES)
        predict_to_parquet(model, images, out, lambda *_: None)
    assert str(caught.value).startswith(f"{broken}: cannot be read (UnidentifiedImageError")
    assert out.read_bytes() == b"the file before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out.parquet"]


def test_a_file_that_appears_during_the_prediction_is_not_replaced(
    model: RegisteredModel, manifest: Manifest, tmp_path: Path
) -> None:
    write_images(tmp_path / "images", manifest)
    out = tmp_path / "out.parquet"
    chosen = images_of_paths([tmp_path / "images" / "a.png"], CLASSES)
    with pytest.raises(DataError, match="out.parquet: exists; valid: a new file, or --overwrite"):
        predict_to_parquet(model, chosen, out, lambda *_: out.write_bytes(b"of another process"), overwrite=False)
    assert out.read_bytes() == b"of another process"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out.parquet"]


def test_an_error_names_the_classes_that_differ(manifest: Manifest) -> None:
    with pytest.raises(DataError) as caught:
        images_of_manifest(manifest, "test", [*CLASSES[1:], "cat"])
    assert str(caught.value) == (
        "manifest 'digits': classes: lacks 'cat' and also has '0'; valid: the model's 10 classes, in any order"
    )
    with pytest.raises(DataError, match="also has '2', '3', '4', '5', '6' and 3 more; valid: the model's 2 classes"):
        images_of_manifest(manifest, "test", ["0", "1"])
    with pytest.raises(DataError, match="split: got 'dev'; valid: train, val, test"):
        images_of_manifest(manifest, "dev", CLASSES)


def predict(*words: object) -> Result:
    return CliRunner().invoke(main, ["predict", "models:/m/1", *map(str, words)])


@dataclass(frozen=True)
class Mistake:
    words: tuple[str, ...]
    message: str


@pytest.mark.parametrize(
    "mistake",
    [
        Mistake((), "images: got none; valid: exactly one of IMAGES, --folder, --manifest"),
        Mistake(("a.png", "--folder", "b"), "images: got IMAGES and --folder; valid: exactly one of IMAGES"),
        Mistake(("--folder", "b"), "--out: missing; valid: a Parquet file for the predictions of --folder"),
        Mistake(("--folder", "b", "--split", "val", "--out", "o.parquet"), "--split: got 'val' without --manifest; valid: --manifest FILE with it"),
        Mistake(("--folder", "b", "--out", "o.csv"), "o.csv: got a name that ends in '.csv'; valid: the path of a table"),
        Mistake(("--folder", "b", "--out", "there.parquet"), "there.parquet: exists; valid: a new file, or --overwrite"),
        Mistake(("--folder", "b", "--out", "o.parquet"), "b: no such folder; valid: a folder with images"),
        Mistake(("--folder", "empty", "--out", "o.parquet"), "empty: got no images; valid: files that end in .apng, "),
        Mistake(("a.png", "--json", "--out", "o.parquet"), "--json: got --out too; valid: one of the two"),
        Mistake(("--manifest", "gone.parquet", "--out", "o.parquet"), "gone.parquet"),
        Mistake(("--manifest", "there.parquet", "--out", "./there.parquet", "--overwrite"), "--out: got there.parquet, the manifest that is read; valid: another file"),
    ],
)  # fmt: skip
def test_mistakes_are_reported_in_one_line(mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.parquet").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    answer = predict(*mistake.words)
    assert answer.exit_code == 2
    assert mistake.message in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "there.parquet"]


def test_a_missing_output_folder_is_found_before_any_image_is_scored(
    model: RegisteredModel, manifest: Manifest, tmp_path: Path
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    images = images_of_paths([tmp_path / "a.png"], CLASSES)
    with pytest.raises(DataError, match="got a folder that does not exist; valid: a file in an existing folder"):
        predict_to_parquet(model, images, tmp_path / "gone" / "out.parquet", lambda *_: None)
