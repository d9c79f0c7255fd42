"""Registered models: promotion, the champion, its history, prediction, ONNX."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kmcl_platform.api.pages import check_new
from kmcl_platform.api.reasons import as_reason
from kmcl_platform.api.searches import AnyFile, as_source
from kmcl_platform.api.store import AnyStore, Store, as_store
from kmcl_platform.errors import DataError, RegistryError
from kmcl_platform.files.given_path import AnyPath, as_path, as_paths
from kmcl_platform.messages import shell_command, show_path

if TYPE_CHECKING:
    import pandas as pd

    from kmcl_platform.registry.promotion.alias_moves import Move
    from kmcl_platform.registry.promotion.promotion_result import PromotionResult


@dataclass(frozen=True)
class Champion:
    """The version of a model that is in use.

    Attributes:
        store: where it is registered.
        uri: `models:/NAME/VERSION`.
        run_id: the MLflow run that trained it.
    """

    store: Store
    uri: str
    run_id: str

    def predict(self, images: AnyPath | Sequence[AnyPath]) -> "pd.DataFrame":
        """Label images; see the function `predict`."""
        return predict(self.uri, images, store=self.store)


def find_champion(store: Store, model: str) -> Champion:
    """See `Store.champion`."""
    from kmcl_platform.registry.model.registry_errors import registry_errors
    from kmcl_platform.registry.model.versions import CHAMPION, RUN_TAG, find_alias
    from kmcl_platform.tracking.database import connect_to_read

    client = connect_to_read(store)
    with registry_errors(store, model):
        found = find_alias(client, model, CHAMPION)
    if found is None:
        again = shell_command(["kmcl", "promote", model])
        raise RegistryError(f"model {model!r}: no version has the alias `{CHAMPION}`; valid: `{again}` first")
    return Champion(store, f"models:/{model}/{found.version}", found.tags.get(RUN_TAG, ""))


def promote(
    search: str,
    *,
    store: AnyStore = None,
    file: AnyFile | None = None,
    force: str = "",
    trial: int | None = None,
    ensemble: int = 1,
    prefer: str | None = None,
) -> "PromotionResult":
    """Compare the best trial of a search with the champion on the sealed test split; promote it if it is better.

    Args:
        search: its name, which is the model's name too.
        store: where it is.
        file: a search with the `promotion` and `decision` to use. None: the file that the search last ran with.
        force: a reason to promote the trial even if gates fail, for the history. Empty: not forced.
        trial: the number of another trial of full length. None: the best one.
        ensemble: how many of the best trials to promote together, as one model with the mean of their logits.
        prefer: of a search with several objectives or constraints, a bound such as `latency_ms<5`: the best trial that
            keeps it is promoted. None: no bound.

    Returns:
        The results of the gates, and whether the trial is the champion now.

    Raises:
        KmclError: the search is unknown or has no such trials, its data was changed, or its files are gone.
    """
    from kmcl_platform.registry.promotion.promote import promote as run_promotion

    source = None if file is None else as_source(file)
    why = as_reason("force", force)
    return run_promotion(as_store(store), search, file=source, force=why, trial=trial, ensemble=ensemble, prefer=prefer)


def rollback(model: str, *, store: AnyStore = None, reason: str = "") -> "Move":
    """Make the former champion of a model the champion again; a second rollback undoes the first.

    Raises:
        RegistryError: the model has no former champion, or its files are gone.
    """
    from kmcl_platform.registry.model.registry_errors import registry_errors
    from kmcl_platform.registry.model.versions import download_package
    from kmcl_platform.registry.promotion.alias_moves import rollback as roll_back
    from kmcl_platform.tracking.database import connect_to_read, locked

    reason = as_reason("reason", reason)
    places = as_store(store)
    client = connect_to_read(places)
    # The version's files are downloaded first, as a check: an alias must not move to a version that cannot be loaded.
    with registry_errors(places, model), locked(places):
        return roll_back(client, model, reason, check=lambda version: download_package(client, version))


def history(model: str, *, store: AnyStore = None) -> "list[Move]":
    """Every move of a model's champion, the first one first.

    Raises:
        RegistryError: the model is not registered.
    """
    from kmcl_platform.registry.model.registry_errors import registry_errors
    from kmcl_platform.registry.promotion.alias_moves import read_history
    from kmcl_platform.tracking.database import connect_to_read

    places = as_store(store)
    client = connect_to_read(places)
    with registry_errors(places, model):
        return list(read_history(client, model))


def predict(model: str, images: AnyPath | Sequence[AnyPath], *, store: AnyStore = None) -> "pd.DataFrame":
    """Label images with a registered model.

    Args:
        model: `models:/NAME@champion` or `models:/NAME/VERSION`.
        images: image files, or one.
        store: where the model is registered.

    Returns:
        One row for each image: `image`, then for each class its probability `score: CLASS`, the decision by the model's
        threshold, and the entropy in bits (docs/models.md).

    Raises:
        RegistryError: there is no such model, or its files are gone.
        DataError: there is no file, a file does not exist, or is not an image.
    """
    from kmcl_platform.registry.model.load import predict_images

    paths = as_paths(images, "images")
    if not paths:
        raise DataError("images: got none; valid: at least one image file")
    table = predict_images(as_store(store), model, paths)
    table.insert(0, "image", [show_path(path) for path in paths])
    return table


@dataclass(frozen=True)
class WrittenPredictions:
    """Predictions in a file.

    Attributes:
        path: the Parquet file.
        model: the URI of the version that made them.
        images: their number.
        left_out: files of the folder that are not images, in words; empty: none.
    """

    path: Path
    model: str
    images: int
    left_out: str


def predict_to_file(
    model: str,
    out: AnyPath,
    *,
    images: Sequence[AnyPath] = (),
    folder: AnyPath | None = None,
    manifest: AnyPath | None = None,
    split: str = "test",
    store: AnyStore = None,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> WrittenPredictions:
    """Label any number of images with a registered model, into a Parquet file with one row for each.

    Args:
        model: as for `predict`.
        out: the new file.
        images, folder, manifest: one of them: image files; all images in a folder and below it; the images of a
            manifest, whose targets are then written too.
        split: of the manifest.
        store: where the model is registered.
        overwrite: replace a file that exists.
        progress: is called with "images", the number of labelled images, and of all.

    Raises:
        RegistryError: as for `predict`.
        DataError: an image cannot be read, the manifest has other classes, or the file exists.
    """
    from kmcl_platform.data.builtin.datasets import open_manifest
    from kmcl_platform.registry import batch_prediction as batch
    from kmcl_platform.registry.model.load import load_registered

    if bool(images) + (folder is not None) + (manifest is not None) != 1:
        raise DataError("images: got several sources or none; valid: exactly one of images, folder and manifest")
    places, path = as_store(store), as_path(out, "out")
    check_new(path, overwrite=overwrite)
    # Before the model is loaded, which takes longer: a wrong folder or manifest is refused first.
    found = batch.find_images(as_path(folder, "folder")) if folder is not None else None
    opened = open_manifest(str(manifest), places.data) if manifest is not None else None
    loaded = load_registered(places, model)
    names = loaded.predictor.class_names
    if opened is None:
        chosen = batch.images_of_paths(found.paths if found else as_paths(images, "images"), names)
    else:
        chosen = batch.images_of_manifest(opened, split, names)
    count = batch.predict_to_parquet(loaded, chosen, path, progress or _silent, overwrite=overwrite)
    return WrittenPredictions(path, loaded.uri, count, found.describe_others() if found and found.others else "")


@dataclass(frozen=True)
class ExportedModel:
    """A model as ONNX.

    Attributes:
        path: the file.
        model: the URI of its version.
        difference: the largest difference of its scores from those of torch.
    """

    path: Path
    model: str
    difference: float


def export_onnx(model: str, out: AnyPath, *, store: AnyStore = None, overwrite: bool = False) -> ExportedModel:
    """Write a registered model as ONNX, if onnxruntime gives the same scores as torch. Needs the extra `onnx`.

    Raises:
        RegistryError: there is no such model, or the scores differ.
        ConfigError: the file exists.
    """
    from kmcl_platform.registry.model.load import load_registered
    from kmcl_platform.registry.package.onnx_export import check_installed, export_onnx as write_onnx

    path = as_path(out, "out")
    check_new(path, overwrite=overwrite)
    # Before the model is loaded, which takes seconds.
    check_installed()
    loaded = load_registered(as_store(store), model)
    return ExportedModel(path, loaded.uri, write_onnx(loaded, path))


def _silent(_what: str, _done: int, _total: int) -> None:
    return
