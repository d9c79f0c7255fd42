"""The commands that use a registered model. Heavy imports are inside the functions."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from kmcl_platform.cli.options import open_store, store_options
from kmcl_platform.cli.progress import progress_bar
from kmcl_platform.errors import DataError
from kmcl_platform.files.file_status import is_same_file, is_there
from kmcl_platform.messages import count_of, shell_command, show_path


@click.command()
@click.argument("model")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--folder", "images_in", type=click.Path(path_type=Path), help="All images in this folder and below it.")
@click.option("--manifest", metavar="FILE", help="The images of a manifest; the result has its targets too.")
@click.option("--split", metavar="SPLIT", help="Split of the manifest [default: test].")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Parquet file for the predictions, one row for each image."
)
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each image.")
@store_options
def predict(
    model: str,
    images: tuple[Path, ...],
    images_in: Path | None,
    manifest: str | None,
    split: str | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    folder: Path,
    tracking_uri: str | None,
) -> None:
    """Label IMAGES, a folder or a manifest with the registered MODEL (models:/NAME@champion).

    Gives for each class a probability, its entropy in bits (0: certain, 1: a probability of 0.5) and a decision by the
    model's threshold. The uncertainty of KMCL's kernels is given only if the promotion measured that it finds wrong
    decisions.
    """
    given = {"IMAGES": images, "--folder": images_in, "--manifest": manifest}
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        raise DataError(f"images: got {' and '.join(named) or 'none'}; valid: exactly one of {', '.join(given)}")
    if split is not None and not manifest:
        raise DataError(f"--split: got {split!r} without --manifest; valid: --manifest FILE with it, or no --split")
    if out is None:
        if not images:
            raise DataError(f"--out: missing; valid: a Parquet file for the predictions of {named[0]}")
        _print_few(open_store(folder, tracking_uri), model, images, as_json)
        return
    if as_json:
        raise DataError("--json: got --out too; valid: one of the two")
    _check_out(out, overwrite)
    if manifest and is_same_file(out, Path(manifest)):
        raise DataError(f"--out: got {show_path(out)}, the manifest that is read; valid: another file")
    # Only now: these imports take seconds, and wrong options should be refused without them.
    from kmcl_platform import predict_to_file

    with progress_bar() as progress:
        written = predict_to_file(
            model,
            out,
            images=images,
            folder=images_in,
            manifest=manifest,
            split=split or "test",
            store=open_store(folder, tracking_uri),
            overwrite=overwrite,
            progress=progress,
        )
    click.echo(f"predicted: {count_of(written.images, 'image')} with {written.model}")
    if written.left_out:
        click.echo(f"left out: {written.left_out}, which are not images")
    click.echo(f"written: {shell_command([show_path(out)])}")


@click.command()
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path), metavar="OUT.onnx")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@store_options
def export(model: str, out: Path, overwrite: bool, folder: Path, tracking_uri: str | None) -> None:
    """Write the registered MODEL as ONNX, if onnxruntime gives the same scores as torch.

    The input of the file is float32 images, resized and normalised; its outputs are logits and calibrated scores. Needs
    the extra `onnx`.
    """
    _check_out(out, overwrite, ".onnx", "a model")
    from kmcl_platform import export_onnx

    made = export_onnx(model, out, store=open_store(folder, tracking_uri), overwrite=overwrite)
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    click.echo(f"written: {shell_command([show_path(out)])}, {size}, of {made.model}")
    click.echo(f"scores differ from torch's by {made.difference:.1e} at most")


def _check_out(out: Path, overwrite: bool, suffix: str = ".parquet", what: str = "a table") -> None:
    if out.suffix != suffix:
        raise DataError(
            f"{show_path(out)}: got a name that ends in {out.suffix!r}; valid: the path of {what} (*{suffix})"
        )
    if is_there(out) and not overwrite:
        raise DataError(f"{show_path(out)}: exists; valid: a new file, or --overwrite")


def _print_few(store: Any, model: str, images: tuple[Path, ...], as_json: bool) -> None:
    """Print one line for each image."""
    from kmcl_platform import predict as label_images

    table = label_images(model, images, store=store)
    console = Console(highlight=False, soft_wrap=True)
    for path, (_, row) in zip(images, table.iterrows(), strict=True):
        scores = _values(row, "score: ")
        ranked = dict(sorted(scores.items(), key=lambda pair: -pair[1]))
        columns = {"entropy": _values(row, "entropy: "), "uncertainty": _values(row, "uncertainty: ")}
        shown = {name: values for name, values in columns.items() if values}
        decided = _values(row, "decision: ")
        labels = [name for name in ranked if decided[name]]
        if as_json:
            document: dict[str, Any] = {"image": show_path(path), "labels": labels, "scores": ranked}
            plurals = {"entropy": "entropies", "uncertainty": "uncertainties"}
            document |= {plurals[one]: {name: values[name] for name in ranked} for one, values in shown.items()}
            click.echo(json.dumps(document, ensure_ascii=False))
        else:
            predicted = [
                f"{name} {ranked[name]:.2f} ({', '.join(f'{one} {values[name]:.2f}' for one, values in shown.items())})"
                for name in labels
            ]
            rest = [f"{name} {score:.2f}" for name, score in ranked.items() if not decided[name]][:3]
            line = f"{show_path(path.name)}: {', '.join(predicted) or 'no label'}   (next: {', '.join(rest)})"
            console.print(line, markup=False)


def _values(row: Any, prefix: str) -> dict[str, float]:
    """A prediction's values by class, from the columns with a prefix; empty if there are no such columns."""
    return {str(name).removeprefix(prefix): float(row[name]) for name in row.index if str(name).startswith(prefix)}


COMMANDS = (predict, export)
