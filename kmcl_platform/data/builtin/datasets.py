"""The manifest for a name in a search file (`data.source`)."""

from pathlib import Path

from kmcl_platform.data.builtin.digits import DIGITS_VERSION, build_digits
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.data.storage.location import Location, parse_location
from kmcl_platform.errors import DataError
from kmcl_platform.files.atomic_write import write_atomically
from kmcl_platform.messages import show_path, show_value

DATASETS = ("digits",)
"""Names of the embedded datasets."""

_NUM_SAMPLES = 6


def open_manifest(source: str, data_dir: Path) -> Manifest:
    """Open an embedded dataset by name, or a manifest by path or URI.

    `digits` is made once and saved as `data_dir/digits.parquet`, with a few test images as PNG files in
    `data_dir/digits_samples/`, for a first prediction.

    Args:
        source: one of `DATASETS`, or a path or URI that ends in `.parquet`.
        data_dir: folder of the embedded datasets; made if needed.

    Raises:
        DataError: the source is unknown, or its manifest is missing or not valid.
    """
    if source == "digits":
        return _open_digits(data_dir)
    location = parse_location(source)
    if location.name.endswith(".parquet"):
        return read_manifest(source)
    shown = show_value(source if location.path else str(location))
    raise DataError(
        f"data.source: got {shown}; valid: {', '.join(DATASETS)}, or the path of a manifest (*.parquet), which "
        "`kmcl data import` makes"
    )


def manifest_location(source: str, data_dir: Path) -> Location:
    """The place of the file that `open_manifest` opens."""
    return parse_location(data_dir / "digits.parquet" if source == "digits" else source)


def _open_digits(data_dir: Path) -> Manifest:
    path = data_dir / "digits.parquet"
    try:
        kept = read_manifest(path)
    except DataError:
        # Missing or damaged: it is made again.
        pass
    else:
        if (kept.name, kept.version) == ("digits", DIGITS_VERSION):
            return kept
    # Several processes may do this at the same time. They write the same bytes, and each renames its own file, so the
    # last one changes nothing.
    manifest = build_digits()
    _write_samples(manifest, data_dir / "digits_samples")
    write_manifest(manifest, path)
    # Read from the file, so that the first call returns what every later call returns.
    return read_manifest(path)


def _write_samples(manifest: Manifest, folder: Path) -> None:
    encoded = manifest.split("test")["bytes"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for i, targets_K in enumerate(manifest.targets("test")[:_NUM_SAMPLES]):
            labels = "-".join(manifest.class_names[k] for k in targets_K.nonzero()[0])
            path = folder / f"{manifest.name}-test-{i:04d}_labels-{labels}.png"
            write_atomically(path, encoded[i].as_py())
    except OSError as error:
        raise DataError(f"{show_path(folder)}: cannot be written: {error.strerror}; valid: a writable folder") from None
