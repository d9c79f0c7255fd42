"""The manifest in MLflow: an input of every run, and on the search's run a page about its labels."""

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kmcl_platform.data.manifest.manifest import SPLITS, Manifest
from kmcl_platform.data.report.page import to_html
from kmcl_platform.data.storage.location import Location

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

DIGEST_LENGTH = 12
"""Digits of the content hash in a dataset's digest (MLflow allows 36); the dataset's profile has the whole hash."""

CONTEXT = "training, validation"
"""A trial's use of the manifest. MLflow has one context for each dataset and run."""

PAGE_FOLDER = "dataset"


def to_dataset_input(manifest: Manifest, location: Location) -> "DatasetInput":
    """A manifest as MLflow describes datasets: name, digest, source, columns, rows of each split.

    Args:
        manifest: the dataset.
        location: where its file is.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    encoded = "bytes" in manifest.table.column_names
    # The images of a manifest are either paths or bytes in the table itself.
    columns = [("bytes", "binary") if encoded else ("image", "string"), ("split", "string")]
    columns += [(name, "integer") for name in manifest.class_names]
    schema = [{"type": kind, "name": name, "required": True} for name, kind in columns]
    profile = {
        "num_rows": manifest.table.num_rows,
        "num_classes": len(manifest.class_names),
        **{f"num_rows_{split}": manifest.split(split).num_rows for split in SPLITS},
        "version": manifest.version,
        "content_hash": manifest.content_hash,
    }
    dataset = Dataset(
        name=manifest.name,
        digest=manifest.content_hash[:DIGEST_LENGTH],
        # MLflow has source types such as `local` and `s3`. The text of a location has no secrets.
        source_type="local" if location.path else urlsplit(location.uri).scheme,
        source=json.dumps({"uri": str(location)}),
        schema=json.dumps({"mlflow_colspec": schema}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, CONTEXT)])


def record_input(client: "MlflowClient", run: "Run", dataset: "DatasetInput") -> None:
    """Make a manifest an input of a run; if it is one already, no request is made.

    Args:
        client: connected to the store.
        run: the run, just read from the store.
        dataset: the manifest, as `to_dataset_input` makes it.
    """
    if not _holds(run, dataset):
        client.log_inputs(run.info.run_id, [dataset])


def record_manifest(client: "MlflowClient", parent: "Run", manifest: Manifest, dataset: "DatasetInput") -> None:
    """Log the page about a manifest to a search's run, and make the manifest its input.

    The page is written first: a run with the input then has the page, and neither is written twice. A search that
    continues with other images or labels gets a second page.
    """
    if _holds(parent, dataset):
        return
    # With another input, the page that has no digest in its name is about that one.
    name = f"{manifest.name}_{dataset.dataset.digest}" if _inputs(parent) else manifest.name
    client.log_text(parent.info.run_id, to_html(manifest), f"{PAGE_FOLDER}/{_file_name(name)}.html")
    record_input(client, parent, dataset)


def other_digests(run: "Run", manifest: Manifest) -> list[str]:
    """Digests of the run's inputs that are not this manifest; empty if it has no input, as in older records."""
    own = manifest.content_hash[:DIGEST_LENGTH]
    return sorted({one.dataset.digest for one in _inputs(run)} - {own})


def _inputs(run: "Run") -> "list[DatasetInput]":
    return run.inputs.dataset_inputs if run.inputs else []


def _holds(run: "Run", dataset: "DatasetInput") -> bool:
    # MLflow identifies a dataset of an experiment by these two.
    wanted = (dataset.dataset.name, dataset.dataset.digest)
    return wanted in {(one.dataset.name, one.dataset.digest) for one in _inputs(run)}


def _file_name(name: str) -> str:
    """A name for a file: a manifest's name may be any text."""
    # A leading dot would hide the file, and the name `..` would lead out of the folder.
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).lstrip(".") or "manifest"
