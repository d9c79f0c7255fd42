"""Promote a trial or an ensemble of a search: score it on the sealed test split, check the gates, move the alias."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kmcl_platform.config.search_file_reader import SearchSource, read_search_file
from kmcl_platform.config.store import Store
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.calibration.fit_decision_rule import fit_rule
from kmcl_platform.registry.model.model_folder import read_predictor, write_model, write_rule
from kmcl_platform.registry.model.registry_errors import registry_errors
from kmcl_platform.registry.model.schema import WEIGHTS
from kmcl_platform.registry.model.versions import CHAMPION, RUN_TAG, WEIGHTS_TAG, find_alias, hash_file
from kmcl_platform.registry.promotion.alias_moves import AGAINST_TAG, NO_CHAMPION, move, settle_claim
from kmcl_platform.registry.promotion.candidate import Candidate, check_data, measure, metrics_of_split
from kmcl_platform.registry.promotion.champion import Champion, check_champion
from kmcl_platform.registry.promotion.gates import GateResult, check_gates
from kmcl_platform.registry.promotion.members import Member, choose_members, describe, find_run, open_run
from kmcl_platform.registry.promotion.model_card import write_card
from kmcl_platform.registry.promotion.promotion_result import PromotionResult
from kmcl_platform.registry.promotion.sealed_test_split import count_openings
from kmcl_platform.registry.promotion.split_scores import (
    check_features,
    measure_error_detection,
    read_or_score_validation,
    score_images,
)
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


def promote(
    store: Store,
    search: str,
    *,
    file: SearchSource | None = None,
    force: str = "",
    trial: int | None = None,
    ensemble: int = 1,
    prefer: str | None = None,
) -> PromotionResult:
    """Make a search's best trial, another trial or an ensemble the champion, if it passes the gates.

    The best trial is the best finalist. In a search without finalists it is the full-length trial with the best value.

    Args:
        store: of the search.
        search: its name, which is the model's name too.
        file: a search file with the `promotion` and `decision` to use. None: the file that the search last ran with.
        force: a reason to promote the trial even if gates fail, for the history. Empty: not forced.
        trial: the number of another trial. None: the best one.
        ensemble: how many of the best trials to promote together, as the mean of their logits. 1: the best one alone.
        prefer: a bound that the trial has to keep, such as `latency_ms<5`. None: no bound.

    Raises:
        SearchError: the search is unknown, belongs to another store, or has no finished trial.
        ConfigError: the file is not valid.
        RegistryError: there is no such trial, or not so many; a checkpoint is gone, the data was changed since the
            training, the champion has other classes, its run or its files are gone or were changed, or another
            promotion was faster.
        StoreError: the store does not answer, or its disk is full.
    """
    board = read_leaderboard(store, search)
    check_own(store, board.experiment_id)
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
        members = choose_members(store, board, trial=trial, size=ensemble, prefer=prefer)
        row, state = members[0].row, members[0].state
        others, named = tuple(one.row for one in members[1:]), trial is not None or prefer is not None
        manifest = open_manifest(state.config.data.source, store.data)
        run_id = find_run(client, board, members)
        if champion is not None and champion.run_id == run_id:
            metrics, openings = client.get_run(run_id).data.metrics, count_openings(client, manifest)
            version = champion.version
            return PromotionResult(search, version, row, metrics, [], True, True, openings, None, others, named)
        # Before the test split is opened.
        for one in members:
            check_data(client, one.row, one.state.config.data.source, manifest)
            check_features(store, one.state)
        before = str(found.version) if found else ""
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            (weights, config), *further = (
                (_whole_weights(store, one, Path(scratch)), one.state.config) for one in members
            )
            write_model(folder, weights, config, state.class_names, others=further)
            predictor = read_predictor(folder)
            # Calibration and thresholds are fitted before the test split is opened, so they cannot depend on it.
            validation = (
                score_images(predictor, manifest, "val")
                if others
                else read_or_score_validation(members[0].checkpoint, predictor, manifest)
            )
            fitted = fit_rule(validation.scores_NK, validation.targets_NK, chosen.decision)
            detection = measure_error_detection(predictor, manifest, validation, fitted.rule, chosen.promotion)
            write_rule(folder, fitted.rule, detection)
            run_id = open_run(client, board, members)
            candidate = Candidate(client, board, members, run_id, manifest, folder, fitted, detection)
            scores, rival = candidate.score(champion)
            plugins = config.plugins
            own = metrics_of_split("val", validation, plugins) if others else dict(state.reports[-1].metrics)
            metrics = own | metrics_of_split("test", scores, plugins)
            # Logged whether or not the gates pass: the split was opened.
            candidate.log_metrics(metrics)
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
        return PromotionResult(
            search, version, row, metrics, gates, promoted, False, openings, detection, others, named
        )


def _whole_weights(store: Store, member: Member, scratch: Path) -> Path:
    """The file of a trial's averaged weights, with those of its backbone."""
    weights = member.checkpoint / AVERAGE
    if not member.state.backbone:
        return weights
    # The model takes images: with the backbone on whose features the trial was trained.
    whole = scratch / f"{member.row.number}-{AVERAGE}"
    join_backbone(member.state.config, member.state.backbone, store.features, weights, whole)
    return whole


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

    client, model = candidate.client, candidate.board.search
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
            run_id=candidate.run_id,
            tags={
                RUN_TAG: candidate.run_id,
                "kmcl.search": model,
                NUMBER_TAG: candidate.label,
                "kmcl.data": candidate.manifest.content_hash,
                "kmcl.git_commit": git_commit,
                WEIGHTS_TAG: hash_file(candidate.folder / WEIGHTS),
                GATES_TAG: json.dumps([gate.to_document() for gate in gates]),
                AGAINST_TAG: before or NO_CHAMPION,
            },
            description=write_card(
                search=model,
                members=[(one.row.number, one.state.config) for one in candidate.members],
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
        what = describe(candidate.members)
        if "test/mAP" in metrics:
            what += f", test/mAP {metrics['test/mAP']:.4f}"
        move(
            client,
            model,
            before=before,
            after=str(version.version),
            kind="force" if forced else "promote",
            reason=f"{what}: {forced}" if forced else what,
        )
    return str(version.version)
