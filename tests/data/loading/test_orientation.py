"""A picture that was stored with an orientation is upright, in every format and wherever it is decoded."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import ExifTags, Image

from kmcl_platform.components.augmentations.timm import Timm
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.check import images as check_module
from kmcl_platform.data.loading.decode import decode_image, decode_pixels
from kmcl_platform.data.loading.transforms import resize
from kmcl_platform.data.manifest.manifest import build_manifest
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.tracking.figures.mistakes import read_thumbnail
from kmcl_platform.training.build import build_dataset, build_model

pytestmark = pytest.mark.usefixtures("jpeg_decoder")

SIZE = 32
FORMATS = ["JPEG", "PNG", "WEBP", "MPO", "TIFF", "TIFF, compressed", "AVIF"]
ORIENTATIONS = range(1, 9)
STORED_FROM_UPRIGHT: dict[int, Callable[[Image.Image], Image.Image]] = {
    # The inverse of what EXIF says, written with Pillow's names: the oracle for the code's own arithmetic.
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


def upright() -> Image.Image:
    """Four quarters of different colours, wider than high, and large enough for a JPEG decoded at a quarter."""
    pixels_HW3 = np.zeros((128, 192, 3), dtype=np.uint8)
    pixels_HW3[:64, :96], pixels_HW3[:64, 96:] = (250, 30, 30), (30, 250, 30)
    pixels_HW3[64:, :96], pixels_HW3[64:, 96:] = (30, 30, 250), (240, 240, 240)
    return Image.fromarray(pixels_HW3)


def encode(kind: str, orientation: int) -> bytes:
    """The upright picture as a camera stores it."""
    stored, stream = STORED_FROM_UPRIGHT[orientation](upright()), io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if kind.startswith("TIFF"):
        compression = "tiff_lzw" if "compressed" in kind else None
        stored.save(stream, "TIFF", tiffinfo={int(ExifTags.Base.Orientation): orientation}, compression=compression)
    elif kind == "MPO":
        stored.save(stream, kind, exif=exif.tobytes(), save_all=True, append_images=[stored], quality=95)
    else:
        stored.save(stream, kind, exif=exif.tobytes(), quality=95)
    return stream.getvalue()


def with_exif(jpeg: bytes, exif: bytes) -> bytes:
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def is_upright(pixels_HW3: np.ndarray) -> bool:
    """Whether the four quarters have the right colours."""
    expected_SS3 = resize(np.asarray(upright()), SIZE)
    return bool(np.abs(resize(pixels_HW3, SIZE).astype(int) - expected_SS3).mean() < 6)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A file of every format in every orientation."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for kind in FORMATS:
        for orientation in ORIENTATIONS:
            paths.append(folder / f"{kind} {orientation}")
            paths[-1].write_bytes(encode(kind, orientation))
    return paths


def through_dataset(split: str, augmentation: str) -> Callable[[list[Path]], list[np.ndarray]]:
    def read(paths: list[Path]) -> list[np.ndarray]:
        config = TrialConfig().with_values({"data.image_size": SIZE, "data.augmentation": augmentation})
        manifest = build_manifest(
            name="m",
            version="1",
            class_names=["a"],
            splits=[split] * len(paths),
            images=[str(path) for path in paths],
            targets=np.ones((len(paths), 1), dtype=np.int8),
        )
        dataset = build_dataset(config, manifest, split)
        return [dataset[row][0].permute(1, 2, 0).numpy() for row in range(len(paths))]

    return read


def through_check(paths: list[Path]) -> list[np.ndarray]:
    """The check does not return pixels, so those that it decodes are recorded where it calls the decoder."""
    seen: dict[bytes, np.ndarray] = {}
    with pytest.MonkeyPatch.context() as patch:

        def record(encoded: bytes) -> object:
            image = decode_image(encoded)
            seen[encoded] = image.pixels_HW3
            return image

        patch.setattr(check_module, "decode_image", record)
        check_module.check_images(pa.chunked_array([list(map(str, paths))]), None, "image", Path(), lambda *_: None)
    return [seen[path.read_bytes()] for path in paths]


def through_predictor(paths: list[Path]) -> list[np.ndarray]:
    """The pixels that a registered model's network gets, by the path of `predict` and of serving."""
    config = TrialConfig().with_values({"data.image_size": SIZE})
    predictor = Predictor(build_model(config, 1), config, ["a"], torch.device("cpu"))
    batches: list[torch.Tensor] = []
    predictor.model.register_forward_pre_hook(lambda _, given: batches.append(given[0]))
    predictor.predict([path.read_bytes() for path in paths])
    return list(torch.cat(batches).permute(0, 2, 3, 1).numpy())


def through_figures(paths: list[Path]) -> list[np.ndarray]:
    encoded = [path.read_bytes() for path in paths]
    manifest = build_manifest(
        name="m",
        version="1",
        class_names=["a"],
        splits=["val"] * len(paths),
        images=encoded,
        targets=np.ones((len(paths), 1), dtype=np.int8),
    )
    return [read_thumbnail(manifest, row) for row in range(len(paths))]


PATHS = {
    "training": through_dataset("train", "none"),
    "training, reduced JPEG": through_dataset("train", "timm"),
    "evaluation": through_dataset("val", "none"),
    "check": through_check,
    "prediction": through_predictor,
    "pictures of mistakes": through_figures,
}


@pytest.mark.parametrize("path", PATHS)
def test_every_path_sees_the_upright_picture(path: str, pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    # The augmentation is replaced by one that changes nothing; the reduced-size decoding of training stays.
    monkeypatch.setattr(Timm, "build", lambda _: lambda pixels_SS3: pixels_SS3)
    images = PATHS[path](pictures)
    assert len(images) == len(pictures) == len(FORMATS) * 8
    turned = [file.name for file, pixels in zip(pictures, images, strict=True) if not is_upright(pixels)]
    assert turned == []


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF, compressed"])
def test_lossless_pixels_are_exact(kind: str, orientation: int) -> None:
    assert np.array_equal(decode_pixels(encode(kind, orientation)), np.asarray(upright()))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_a_reduced_jpeg_has_the_expected_size(kind: str, orientation: int) -> None:
    encoded = encode(kind, orientation)
    assert decode_pixels(encoded).shape == (128, 192, 3)
    assert decode_pixels(encoded, at_least=64).shape == (64, 96, 3)
    assert decode_pixels(encoded, at_least=32).shape == (32, 48, 3)


@pytest.mark.parametrize("at_least", [None, 32])
@pytest.mark.parametrize(
    ("exif", "expected"),
    [
        (b"Exif\0\0no TIFF data", 1),
        (b"Exif\0\0", 1),
        (b"Exif\0\0II*\0\x08\0\0\0\xff\xff", 1),
        (b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 274, 3, 1, 9, 0) + bytes(4), 1),
        (b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 274, 3, 1, 0, 0) + bytes(4), 1),
        (b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 274, 3, 1, 6, 0) + bytes(4), 6),
        # Some cameras write the tag with the wrong type.
        (b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 274, 4, 1, 6) + bytes(4), 6),
    ],
    ids=["not TIFF", "empty", "cut off", "value 9", "value 0", "big-endian 6", "long 6"],
)
@pytest.mark.filterwarnings("ignore:.*Corrupt EXIF")
def test_unusual_exif_data_is_read_in_the_same_way_at_every_size(
    exif: bytes, expected: int, at_least: int | None
) -> None:
    """The tag is read in the same way at the reduced size of training and at the full size elsewhere."""
    stream = io.BytesIO()
    STORED_FROM_UPRIGHT[expected](upright()).save(stream, "JPEG", quality=95)
    assert is_upright(decode_pixels(with_exif(stream.getvalue(), exif), at_least=at_least))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_picture_with_damaged_exif_data_is_decoded_as_it_is_stored(kind: str) -> None:
    """Pillow raises an error for the data of these formats. It reads those of a JPEG when it opens the file."""
    stream = io.BytesIO()
    upright().save(stream, kind, exif=b"Exif\0\0no TIFF data", quality=95)
    assert is_upright(decode_pixels(stream.getvalue()))


@pytest.mark.parametrize("at_least", [None, 32])
def test_an_orientation_that_only_xmp_has_is_applied(at_least: int | None) -> None:
    """Pillow reads it and torchcodec does not, so the full and the reduced decoding used to differ."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    stream = io.BytesIO()
    STORED_FROM_UPRIGHT[8](upright()).save(stream, "JPEG", quality=95, xmp=xmp)
    assert is_upright(decode_pixels(stream.getvalue(), at_least=at_least))


def test_fill_bytes_and_several_exif_segments_do_not_matter() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 274, 3, 1, 3, 0) + bytes(4)
    stream = io.BytesIO()
    STORED_FROM_UPRIGHT[3](upright()).save(stream, "JPEG", quality=95, comment=b"Exif\0\0 in a comment")
    jpeg = stream.getvalue()
    with_fill_bytes = jpeg[:2] + b"\xff\xff" + jpeg[2:]
    assert is_upright(decode_pixels(with_exif(with_fill_bytes, exif)))
