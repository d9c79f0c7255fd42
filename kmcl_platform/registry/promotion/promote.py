"""Promote the best trial of a search: score it on the sealed test split, hold it against the gates, move the alias."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file, read_search_file
from kmcl_platform.config.store import Store
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.registry.calibration.fit_decision_rule import fit_rule
from kmcl_platform.registry.model.predictor import read_predictor, write_model, write_rule
from kmcl_platform.registry.model.schema import WEIGHTS
from kmcl_platform.registry.model.versions import CHAMPION, RUN_TAG, WEIGHTS_TAG, find_alias, hash_file
from kmcl_platform.registry.promotion.alias_moves import AGAINST_TAG, NO_CHAMPION, move, settle_claim
from kmcl_platform.registry.promotion.candidate import Candidate, measure, read_checkpoint, sealed_metrics
from kmcl_platform.registry.promotion.gates import GateResult, check_gates
from kmcl_platform.registry.promotion.model_card import write_card
from kmcl_platform.registry.promotion.sealed_test_split import count_openings
from kmcl_platform.registry.promotion.split_scores import read_or_score_validation
from kmcl_platform.tracking.database import as_default, connect, locked
from kmcl_platform.tracking.runs.leaderboard import LeaderboardRow, read_latest_file, read_leaderboard
from kmcl_platform.tracking.runs.names import NUMBER_TAG
from kmcl_platform.tracking.runs.ownership import check_own
from kmcl_platform.training.checkpoints.checkpoint_folder import AVERAGE

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

GATES_TAG = "kmcl.gates"
"""Tag of a version: what it was held against, and with what result, as JSON."""


@dataclass(frozen=True)
class PromotionResult:
    """What a promotion did.

    Attributes:
        model: name of the registered model (the search's name).
        version: the champion's version after it; empty where there is none.
        row: the candidate's line of the leaderboard.
        metrics: the candidate's metrics on the validation and test splits, `val/NAME` and `test/NAME`.
        gates: what the candidate was held against; none where it is the champion already.
        promoted: whether the alias stands at the candidate.
        already: whether the candidate had been the champion before.
        openings: how often each search of the store has opened the test split of this data.
    """

    model: str
    version: str
    row: LeaderboardRow
    metrics: dict[str, float]
    gates: list[GateResult]
    promoted: bool
    already: bool
    openings: dict[str, int]

    @property
    def uri(self) -> str:
        """The champion's URI, which stays valid when a better one takes its place."""
        return f"models:/{self.model}@{CHAMPION}"


def promote(store: Store, search: str, *, file: Path | None = None, force: str = "") -> PromotionResult:
    """Make a search's best full-length trial the champion, if it passes the gates.

    Args:
        store: where the search is.
        search: its name, which is the model's.
        file: a search file whose `promotion` and `decision` hold; none: the one that the search last ran with.
        force: a reason to promote it whatever the gates say; it is kept in the history.

    Raises:
        SearchError: the search is unknown, belongs to another store, or has no finished trial.
        ConfigError: the file is not valid.
        RegistryError: the trial's checkpoint is gone, the champion knows other classes or its weights were changed, or
            another promotion was faster.
    """
    board = read_leaderboard(store, search)
    check_own(store, board.experiment_id)
    row = board.best()
    said = read_search_file(file) if file else _latest_file(store, search)
    bounds = said.promotion
    client = connect(store)
    champion = find_alias(client, search, CHAMPION)
    state, checkpoint = read_checkpoint(store, search, row)
    manifest = open_manifest(state.config.data.source, store.data)
    if champion is not None and champion.tags.get(RUN_TAG) == row.run_id:
        metrics, openings = client.get_run(row.run_id).data.metrics, count_openings(client, manifest)
        return PromotionResult(search, str(champion.version), row, metrics, [], True, True, openings)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        write_model(folder, checkpoint / AVERAGE, state.config, state.class_names)
        validation = read_or_score_validation(checkpoint, read_predictor(folder), manifest)
        fitted = fit_rule(validation.scores_NK, validation.targets_NK, said.decision)
        write_rule(folder, fitted.rule)
        candidate = Candidate(client, board, row, state, manifest, folder, fitted)
        scores, rival = candidate.score(champion)
        metrics = dict(state.reports[-1].metrics) | sealed_metrics(scores)
        candidate.log_test_metrics(metrics)
        model_id = candidate.log()
        gates: list[GateResult] = []
        promoted = False
        try:
            measured = measure(candidate, scores, rival, bounds, candidate.package(model_id))
            gates = check_gates(measured, bounds)
            if force or all(gate.passed for gate in gates):
                version = _register(candidate, model_id, champion, metrics, gates, force, store)
                promoted = True
        finally:
            if not promoted:
                client.delete_logged_model(model_id)
    if not promoted:
        version = str(champion.version) if champion else ""
    return PromotionResult(
        search, version, row, metrics, gates, promoted, already=False, openings=count_openings(client, manifest)
    )


def _latest_file(store: Store, search: str) -> SearchFile:
    return parse_search_file(read_latest_file(store, search), f"the file of search {search!r}")


def _register(
    candidate: Candidate,
    model_id: str,
    champion: "ModelVersion | None",
    metrics: dict[str, float],
    gates: list[GateResult],
    force: str,
    store: Store,
) -> str:
    from mlflow.exceptions import MlflowException

    client, row, model = candidate.client, candidate.row, candidate.board.search
    git_commit = client.get_run(candidate.board.parent_id).data.tags.get("kmcl.git_commit", "")
    forced = force if not all(gate.passed for gate in gates) else ""
    before = str(champion.version) if champion else ""
    try:
        client.create_registered_model(model, description=f"Best multilabel classifiers of the search {model!r}.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with locked(store), as_default(client):
        version = client.create_model_version(
            model,
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
