"""Small datasets in the exact layout of the official releases, with their peculiarities."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from kmcl_platform.data.loading.dataset import Batch
from kmcl_platform.data.readers.adp import ADP_TYPES
from kmcl_platform.data.readers.voc import VOC_CLASSES
from kmcl_platform.errors import DataError

VOC_LABELS = {
    "trainval": {
        "000005": {"chair": 1},
        "000007": {"car": 1},
        "000009": {"horse": 1, "person": 1},
        "000012": {"car": 1, "person": 0},
        "000016": {"bicycle": 1},
        "000017": {"horse": 1, "person": 1},
    },
    "test": {"000001": {"dog": 1, "person": 1}, "000002": {"train": 1, "cat": 0}, "000003": {"sofa": 0}},
}
"""Split to image to class to label, where it is not -1; 0: only difficult objects of that class."""

CHEST_ROWS = [
    ("00000001_000.png", "Cardiomegaly", 1),
    ("00000001_001.png", "Cardiomegaly|Emphysema", 1),
    ("00000001_002.png", "Cardiomegaly|Effusion", 1),
    ("00000002_000.png", "No Finding", 2),
    ("00000003_000.png", "Hernia", 3),
    ("00000003_001.png", "Hernia|Infiltration", 3),
    ("00000004_000.png", "Mass|Nodule", 4),
    ("00000005_000.png", "No Finding", 5),
    ("00000006_000.png", "Pleural_Thickening", 6),
    ("00000006_001.png", "No Finding", 6),
]
"""Image, findings, patient; patients 5 and 6 are the test split."""


def picture(path: Path, seed: int, mode: str = "RGB") -> None:
    """A real JPEG or PNG file of noise, different for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def write_voc(root: Path, year: str = "2007") -> Path:
    """VOCdevkit; returns its folder of the year. 2012's test.txt has no labels, as released."""
    folder = root / "VOCdevkit" / f"VOC{year}"
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    official = {"2007": ("trainval", "test"), "2012": ("train", "val")}[year]
    for split, labels in zip(official, VOC_LABELS.values(), strict=True):
        (lists / f"{split}.txt").write_text("".join(f"{image}\n" for image in labels))
        for name in VOC_CLASSES:
            # Labels are right-aligned in two columns: "000005 -1", "000005  1".
            lines = [f"{image} {labels[image].get(name, -1):2d}\n" for image in labels]
            (lists / f"{name}_{split}.txt").write_text("".join(lines))
        for number, image in enumerate(labels):
            picture(folder / "JPEGImages" / f"{image}.jpg", number + 100 * (split == official[1]))
            (folder / "Annotations").mkdir(exist_ok=True)
            (folder / "Annotations" / f"{image}.xml").write_text(_voc_xml(year, image, labels[image]))
    if year == "2012":
        (lists / "test.txt").write_text("2008_000001\n")
    return folder


def _voc_xml(year: str, image: str, labels: dict[str, int]) -> str:
    objects = "".join(
        f"\t<object>\n\t\t<name>{name}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n"
        f"\t\t<difficult>{int(label == 0)}</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>2</xmin>\n\t\t\t<ymin>3</ymin>\n"
        "\t\t\t<xmax>12</xmax>\n\t\t\t<ymax>13</ymax>\n\t\t</bndbox>\n\t</object>\n"
        for name, label in labels.items()
    )
    return (
        f"<annotation>\n\t<folder>VOC{year}</folder>\n\t<filename>{image}.jpg</filename>\n\t<size>\n\t\t<width>32</width>\n"
        f"\t\t<height>24</height>\n\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n{objects}</annotation>\n"
    )


def coco_document(year: str, part: str) -> dict[str, object]:
    """instances_train or instances_val: ids with holes and out of order, a crowd, an image without annotation."""
    prefix = f"COCO_{part}2014_" if year == "2014" else ""
    ids = {"train": [9, 25, 30, 34, 36, 49], "val": [42, 73, 133]}[part]
    pairs = {
        "train": [(9, 1, 0), (9, 1, 0), (9, 90, 0), (25, 13, 0), (30, 90, 1), (34, 13, 0), (34, 13, 1), (49, 1, 0)],
        "val": [(42, 13, 0), (73, 1, 1)],
    }[part]
    polygon = [[round(0.37 * i, 2) for i in range(12)]]
    return {
        "info": {
            "description": f"COCO {year} Dataset",
            "url": "http://cocodataset.org",
            "version": "1.0",
            "year": 2017,
        },
        "licenses": [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}],
        "images": [
            {
                "license": 4,
                "file_name": f"{prefix}{number:012d}.jpg",
                "coco_url": f"http://images.cocodataset.org/{part}{year}/{number:012d}.jpg",
                "height": 24,
                "width": 32,
                "date_captured": "2013-11-14 11:18:45",
                "id": number,
            }
            for number in ids
        ],
        "annotations": [
            {
                "segmentation": {"counts": [100, 20, 648], "size": [24, 32]} if crowd else polygon,
                "area": 20.5,
                "iscrowd": crowd,
                "image_id": image,
                "bbox": [1.0, 2.0, 3.0, 4.0],
                "category_id": category,
                "id": number,
            }
            for number, (image, category, crowd) in enumerate(pairs, start=1)
        ],
        "categories": [
            {"supercategory": "indoor", "id": 90, "name": "toothbrush"},
            {"supercategory": "person", "id": 1, "name": "person"},
            {"supercategory": "outdoor", "id": 13, "name": "stop sign"},
        ],
    }


def write_coco(root: Path, year: str = "2017") -> Path:
    """Annotations and images of both parts."""
    for number, part in enumerate(("train", "val")):
        document = coco_document(year, part)
        write_coco_json(root, year, part, document)
        for image in document["images"]:  # type: ignore[attr-defined]
            picture(root / f"{part}{year}" / image["file_name"], image["id"] + 1000 * number)
    return root


def write_coco_json(root: Path, year: str, part: str, document: dict[str, object]) -> Path:
    """One annotation file, on one line, as released."""
    path = root / "annotations" / f"instances_{part}{year}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


ADP_LABELS = [
    {"E", "E.M", "E.M.S"},
    {"C", "C.L"},
    {"E"},
    {"T"},
    {"M"},
    set[str](),
    {"N", "N.G", "N.G.M", "G", "G.O"},
    {"H", "H.E"},
]
"""Labels of each row: row 2 has none at level L3Only, row 5 has none at all."""
ADP_ROWS = {"train": [6, 0, 2, 5], "valid": [3, 7], "test": [4]}
"""Row numbers of each split, not in order; row 1 is in none."""


def write_adp(root: Path) -> Path:
    """The release's folder."""
    folder = root / "ADP V1.0 Release"
    names = [f"{row + 1:03d}.png_crop_{row}.png" for row in range(len(ADP_LABELS))]
    for row, name in enumerate(names):
        picture(folder / "img_res_1um_bicubic" / name, row)
    with (folder / "ADP_EncodedLabels_Release1_Flat.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Patch Names", *ADP_TYPES])
        for name, labels in zip(names, ADP_LABELS, strict=True):
            writer.writerow([name, *(int(kind in labels) for kind in ADP_TYPES)])
    (folder / "splits").mkdir()
    for split, rows in ADP_ROWS.items():
        np.save(folder / "splits" / f"{split}.npy", np.array(rows))
    return folder


def write_chest(root: Path, *, parted: bool = True, corrected: bool = False) -> Path:
    """ChestX-ray14. Its images are in twelve folders (two here) or in one. The first is RGBA, the others are grey."""
    pixels = "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    head = f"Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,{pixels}"
    # The first release ends every line with a comma, the corrected one does not.
    end = "" if corrected else ","
    lines = [head + end]
    for number, (image, findings, patient) in enumerate(CHEST_ROWS):
        lines.append(
            f"{image},{findings},{number},{patient},{'57' if corrected else '057Y'},M,PA,2682,2749,0.143,0.143{end}"
        )
        folder = f"images_{1 + number % 2:03d}/images" if parted else "images"
        picture(root / folder / image, number, "L" if number else "RGBA")
    (root / f"Data_Entry_2017{'_v2020' if corrected else ''}.csv").write_text("\n".join(lines) + "\n")
    (root / "train_val_list.txt").write_text("\n".join(row[0] for row in CHEST_ROWS if row[2] < 5))
    (root / "test_list.txt").write_text("\n".join(row[0] for row in CHEST_ROWS if row[2] >= 5))
    return root


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """A CSV file, and the images that its first column names. An image is not written if its name begins with `no`."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    for number, row in enumerate(rows):
        image = path.parent / str(row[0])
        if row[0] and not image.name.startswith("no") and not image.exists():
            picture(image, number)
    return path


def complaint_of(loader: DataLoader[Batch]) -> DataError:
    """The error that one epoch of the loader raises."""
    with pytest.raises(DataError) as caught:
        list(loader)
    # The loader and its error hold each other, and the garbage collector would end its processes in the wrong order:
    # that takes 5 s each.
    if isinstance(loader._iterator, _MultiProcessingDataLoaderIter):
        loader._iterator._shutdown_workers()
    return caught.value
