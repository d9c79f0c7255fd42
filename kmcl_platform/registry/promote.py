"""Promote the best trial of a search: evaluate on the sealed test split, register, move the alias `champion`."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kmcl_platform.config.store import Store
from kmcl_platform.data.catalog import open_manifest
from kmcl_platform.data.manifest import Manifest
from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.gates import GateResult, champion_gates, check_gates
from kmcl_platform.registry.models import CHAMPION, RUN_TAG, download_package, find_champion
from kmcl_platform.registry.package import log_model
from kmcl_platform.registry.predictor import Predictor, has_uncertainties, read_predictor, write_model
from kmcl_platform.tracking.database import as_default, connect
from kmcl_platform.tracking.leaderboard import LeaderboardRow, read_leaderboard
from kmcl_platform.training.build import build_dataset
from kmcl_platform.training.checkpoint import read_state
from kmcl_platform.training.checkpoint_folder import AVERAGE, find_checkpoint
from kmcl_platform.training.evaluate import score_split, split_metrics
from kmcl_platform.training.workers import join_workers

if TYPE_CHECKING:
    from mlflow import MlflowClient

DECIDING_METRIC = "test/mAP"


@dataclass(frozen=True)
class Promotion:
    """What a promotion did.

    Attributes:
        model: name of the registered model (the search's name).
        version: the champion's version after it.
        row: the candidate's line of the leaderboard.
        metrics: the candidate's metrics on the validation and test splits, `val/NAME` and `test/NAME`.
        gates: what the candidate was held against; none for a first champion.
        promoted: whether the alias stands at the candidate.
        already: whether the candidate had been the champion before.
    """

    model: str
    version: str
    row: LeaderboardRow
    metrics: dict[str, float]
    gates: list[GateResult]
    promoted: bool
    already: bool

    @property
    def uri(self) -> str:
        """The champion's URI, which stays valid when a better one takes its place."""
        return f"models:/{self.model}@{CHAMPION}"


def promote(store: Store, search: str) -> Promotion:
    """Make a search's best full-length trial the champion, unless the present champion is better on the test split.

    Raises:
        SearchError: the search is unknown, or has no finished trial.
        RegistryError: the trial's checkpoint is gone, or the champion knows other classes.
    """
    row = read_leaderboard(store, search).best()
    client = connect(store)
    champion = find_champion(client, search)
    if champion is not None and champion.tags.get(RUN_TAG) == row.run_id:
        metrics = client.get_run(row.run_id).data.metrics
        return Promotion(search, str(champion.version), row, metrics, [], promoted=True, already=True)
    trial_folder = store.trial_checkpoints(search, row.number)
    checkpoint = find_checkpoint(trial_folder)
    if checkpoint is None:
        raise RegistryError(f"search {search!r}: trial {row.number} has no checkpoint in {trial_folder}; valid: one")
    state = read_state(checkpoint)
    manifest = open_manifest(state.config.data.source, store.data)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        write_model(folder, checkpoint / AVERAGE, state.config, state.class_names)
        metrics = dict(state.reports[-1].metrics) | _test_metrics(read_predictor(folder), manifest)
        _log_test_metrics(client, row.run_id, metrics, state.epoch)
        if champion is not None:
            rival = read_predictor(download_package(client, champion) / "artifacts" / "model")
            gates = check_gates(champion_gates(DECIDING_METRIC, _test_metrics(rival, manifest)), metrics)
            if not all(gate.passed for gate in gates):
                return Promotion(search, str(champion.version), row, metrics, gates, promoted=False, already=False)
        else:
            gates = []
        model_id = log_model(
            client,
            row.run_id,
            f"trial-{row.number:04d}",
            folder,
            manifest,
            state.epoch,
            has_uncertainties=has_uncertainties(state.config.loss),
        )
    version = _register(client, search, row, metrics, model_id)
    return Promotion(search, version, row, metrics, gates, promoted=True, already=False)


def _test_metrics(predictor: Predictor, manifest: Manifest) -> dict[str, float]:
    if predictor.class_names != manifest.class_names:
        raise RegistryError(
            f"the model knows classes {', '.join(predictor.class_names)}; valid: those of {manifest.name!r}, "
            f"{', '.join(manifest.class_names)}"
        )
    dataset = build_dataset(predictor.config, manifest, "test")
    workers = join_workers()
    scores_NK, targets_NK = score_split(
        predictor.model.to(workers.device), dataset, batch_size=predictor.config.data.batch_size, workers=workers
    )
    return split_metrics("test", scores_NK, targets_NK)


def _log_test_metrics(client: "MlflowClient", run_id: str, metrics: dict[str, float], epoch: int) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    entities = [Metric(name, value, now, epoch) for name, value in metrics.items() if name.startswith("test/")]
    client.log_batch(run_id, metrics=entities)


def _register(client: "MlflowClient", model: str, row: LeaderboardRow, metrics: dict[str, float], model_id: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model, description=f"Best multilabel classifiers of the search {model!r}.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with as_default(client):
        version = client.create_model_version(
            model,
            source=f"models:/{model_id}",
            model_id=model_id,
            run_id=row.run_id,
            tags={RUN_TAG: row.run_id, "kmcl.search": model, "kmcl.number": str(row.number)},
            description=f"Trial {row.number} of search {model!r}: {DECIDING_METRIC} {metrics[DECIDING_METRIC]:.4f}.",
        )
    client.set_registered_model_alias(model, CHAMPION, version.version)
    return str(version.version)
