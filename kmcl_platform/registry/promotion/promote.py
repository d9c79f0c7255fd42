"""Promote the best trial of a search: score it on the sealed test split, check the gates, move the alias."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kmcl_platform.config.search_file_reader import SearchSource, read_search_file
from kmcl_platform.config.store import Store
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.calibration.fit_decision_rule import fit_rule
from kmcl_platform.registry.model.predictor import read_predictor, write_model, write_rule
from kmcl_platform.registry.model.registry_errors import registry_errors
from kmcl_platform.registry.model.schema import WEIGHTS
from kmcl_platform.registry.model.versions import CHAMPION, RUN_TAG, WEIGHTS_TAG, find_alias, hash_file
from kmcl_platform.registry.promotion.alias_moves import AGAINST_TAG, NO_CHAMPION, move, settle_claim
from kmcl_platform.registry.promotion.candidate import Candidate, check_data, measure, read_checkpoint, sealed_metrics
from kmcl_platform.registry.promotion.champion import Champion, check_champion
from kmcl_platform.registry.promotion.gates import GateResult, check_gates
from kmcl_platform.registry.promotion.model_card import write_card
from kmcl_platform.registry.promotion.promotion_result import PromotionResult
from kmcl_platform.registry.promotion.sealed_test_split import count_openings
from kmcl_platform.registry.promotion.split_scores import (
    check_features,
    measure_error_detection,
    read_or_score_validation,
)
from kmcl_platform.tracking.comparison.finalists import promoted_row
from kmcl_platform.tracking.database import as_default, connect, locked
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.tracking.runs.names import NUMBER_TAG
from kmcl_platform.tracking.runs.ownership import check_own
from kmcl_platform.tracking.runs.searches import read_latest_search_file
from kmcl_platform.training.checkpoints.checkpoint_folder import AVERAGE
from kmcl_platform.training.features.backbone_weights import join_backbone

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

GATES_TAG = "kmcl.gates"
"""Tag of a version: the results of the gates, as JSON."""


def promote(store: Store, search: str, *, file: SearchSource | None = None, force: str = "") -> PromotionResult:
    """Make a search's best trial the champion, if it passes the gates.

    The best trial is the best finalist. In a search without finalists it is the full-length trial with the best value.

    Args:
        store: of the search.
        search: its name, which is the model's name too.
        file: a search file with the `promotion` and `decision` to use. None: the file that the search last ran with.
        force: a reason to promote the trial even if gates fail, for the history. Empty: not forced.

    Raises:
        SearchError: the search is unknown, belongs to another store, or has no finished trial.
        ConfigError: the file is not valid.
        RegistryError: the trial's checkpoint is gone, the data was changed since its training, the champion has other
            classes, its run or its files are gone or were changed, or another promotion was faster.
        StoreError: the store does not answer, or its disk is full.
    """
    board = read_leaderboard(store, search)
    check_own(store, board.experiment_id)
    row = promoted_row(board)
    chosen = read_search_file(file) if file else read_latest_search_file(store, search)
    if chosen.base.own:
        raise RegistryError(
            f"search {search!r}: got a search with a training of your own, whose models the platform does not know; "
            "valid: a search of `kmcl search`"
        )
    client = connect(store)
    with registry_errors(store, search):
        found = find_alias(client, search, CHAMPION)
        # Before all slow work, and before the test split is opened: a champion that cannot be compared with ends the
        # command.
        champion, problem = _check(client, found, force)
        state, checkpoint = read_checkpoint(store, search, row)
        manifest = open_manifest(state.config.data.source, store.data)
        if champion is not None and champion.run_id == row.run_id:
            metrics, openings = client.get_run(row.run_id).data.metrics, count_openings(client, manifest)
            return PromotionResult(search, champion.version, row, metrics, [], True, True, openings, None)
        # Before the test split is opened.
        check_data(client, row, state.config.data.source, manifest)
        check_features(store, state)
        before = str(found.version) if found else ""
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            weights = checkpoint / AVERAGE
            if state.backbone:
                # The model takes images: with the backbone on whose features the trial was trained.
                weights = Path(scratch) / AVERAGE
                join_backbone(state.config, state.backbone, store.features, checkpoint / AVERAGE, weights)
            write_model(folder, weights, state.config, state.class_names)
            predictor = read_predictor(folder)
            # Calibration and thresholds are fitted before the test split is opened, so they cannot depend on it.
            validation = read_or_score_validation(checkpoint, predictor, manifest)
            fitted = fit_rule(validation.scores_NK, validation.targets_NK, chosen.decision)
            detection = measure_error_detection(predictor, manifest, validation, fitted.rule, chosen.promotion)
            write_rule(folder, fitted.rule, detection)
            candidate = Candidate(client, board, row, state, manifest, folder, fitted, detection)
            scores, rival = candidate.score(champion)
            metrics = dict(state.reports[-1].metrics) | sealed_metrics(scores, state.config.plugins)
            # Logged whether or not the gates pass: the split was opened.
            candidate.log_test_metrics(metrics)
            # Logged before the gates: reload parity loads the model as MLflow stores it.
            model_id = candidate.log()
            promoted = False
            try:
                package = candidate.package(model_id)
                gates = check_gates(
                    measure(candidate, scores, rival, chosen.promotion, package, problem), chosen.promotion
                )
                version = before
                if force or all(gate.passed for gate in gates):
                    version = _register(candidate, model_id, before, metrics, gates, force, store)
                    promoted = True
            finally:
                if not promoted:
                    candidate.discard(model_id)
        openings = count_openings(client, manifest)
        return PromotionResult(search, version, row, metrics, gates, promoted, False, openings, detection)


def _check(client: "MlflowClient", version: "ModelVersion | None", force: str) -> tuple[Champion | None, str]:
    """The champion to compare with, or None. With force, also why a champion that exists cannot be compared with."""
    if version is None:
        return None, ""
    try:
        return check_champion(client, version), ""
    except RegistryError as error:
        if not force:
            raise
        return None, str(error).partition("; valid: ")[0]


def _register(
    candidate: Candidate,
    model_id: str,
    before: str,
    metrics: dict[str, float],
    gates: list[GateResult],
    force: str,
    store: Store,
) -> str:
    """Register the candidate and make it the champion in the place of version `before`; returns its version."""
    from mlflow.exceptions import MlflowException

    client, row, model = candidate.client, candidate.row, candidate.board.search
    git_commit = client.get_run(candidate.board.parent_id).data.tags.get("kmcl.git_commit", "")
    # A promotion that passes every gate is not recorded as forced, even with a reason.
    forced = force if not all(gate.passed for gate in gates) else ""
    try:
        # Without a look-up first: another process could register the model between the two requests.
        client.create_registered_model(model, description=f"Best multilabel classifiers of the search {model!r}.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # The lock orders the promotions of this machine. Those of other machines are ordered by `settle_claim`.
    with locked(store), as_default(client):
        version = client.create_model_version(
            model,
            # MLflow needs both: without the id the request fails, and a source `runs:/…` is registered but cannot be
            # loaded.
            source=f"models:/{model_id}",
            model_id=model_id,
            run_id=row.run_id,
            tags={
                RUN_TAG: row.run_id,
                "kmcl.search": model,
                NUMBER_TAG: str(row.number),
                "kmcl.data": candidate.manifest.content_hash,
                "kmcl.git_commit": git_commit,
                WEIGHTS_TAG: hash_file(candidate.folder / WEIGHTS),
                GATES_TAG: json.dumps([gate.to_document() for gate in gates]),
                AGAINST_TAG: before or NO_CHAMPION,
            },
            description=write_card(
                search=model,
                number=row.number,
                config=candidate.state.config,
                manifest=candidate.manifest,
                metrics=metrics,
                gates=gates,
                fitted=candidate.fitted,
                error_detection=candidate.error_detection,
                forced=forced,
                git_commit=git_commit,
            ),
        )
        settle_claim(client, model, version)
        what = (
            f"trial {row.number}, test/mAP {metrics['test/mAP']:.4f}"
            if "test/mAP" in metrics
            else f"trial {row.number}"
        )
        move(
            client,
            model,
            before=before,
            after=str(version.version),
            kind="force" if forced else "promote",
            reason=f"{what}: {forced}" if forced else what,
        )
    return str(version.version)
