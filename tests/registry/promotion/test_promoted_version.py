"""A promoted version: its tags, its card, its decision rule, and what it measured about finding wrong decisions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kmcl_platform.config.after_search import Decision, Promotion
from kmcl_platform.config.store import open_store
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.registry.calibration.fit_decision_rule import fit_rule
from kmcl_platform.registry.calibration.measure_error_detection import measure_detection_area
from kmcl_platform.registry.model.error_detection import binary_entropy
from kmcl_platform.registry.model.model_folder import read_predictor
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.registry.model.versions import PACKAGED_MODEL, download_package
from kmcl_platform.tracking.database import connect
from tests.registry.promotion.story import Story, promote
from tests.support.command_line import kmcl

pytestmark = [pytest.mark.story, pytest.mark.takes(55)]


@pytest.fixture(scope="module")
def manifest(story: Story) -> Manifest:
    return read_manifest(story.manifest)


def model_folder(store: Path, version: str) -> Path:
    client = connect(open_store(store))
    return download_package(client, client.get_model_version("small", version)) / PACKAGED_MODEL


def read(story: Story, version: str) -> tuple[dict[str, Any], Predictor]:
    folder = model_folder(story.store.root, version)
    return json.loads((folder / "model.json").read_text()), read_predictor(folder, torch.device("cpu"))


def test_a_version_has_its_origin_in_its_tags(story: Story, manifest: Manifest) -> None:
    version = connect(story.store).get_model_version("small", "2")
    tags = version.tags
    assert (tags["kmcl.search"], tags["kmcl.number"], tags["kmcl.against"]) == ("small", "2", "1")
    assert tags["kmcl.data"] == manifest.content_hash
    assert len(tags["kmcl.git_commit"]) == 40
    gates = {gate["gate"]: gate for gate in json.loads(tags["kmcl.gates"])}
    assert gates["reload parity"]["value"] <= 1e-5
    assert gates["mAP against the champion"]["passed"] is True
    assert "| mAP | " in version.description
    assert "**Classes** (10): 0, 1, 2" in version.description


def test_a_version_decides_by_a_rule_that_was_fitted_on_validation(story: Story, manifest: Manifest) -> None:
    document, predictor = read(story, "2")
    rule = document["decision"]
    scores_NK = predictor.predict(manifest.split("val")["bytes"].to_pylist()).scores_NK
    expected = fit_rule(scores_NK, manifest.targets("val"), Decision()).rule
    assert rule["temperature"] == pytest.approx(expected.temperature, rel=1e-3)
    assert rule["temperature"] != 1
    assert rule["thresholds"] == pytest.approx(expected.thresholds, abs=1e-4)
    assert (rule["objective"], rule["floor"]) == ("f1", None)
    assert rule["shift"] == pytest.approx(expected.shift, rel=1e-3)
    card = connect(story.store).get_model_version("small", "2").description
    assert (
        f"temperature {rule['temperature']:.3g}, shift {rule['shift']:.3g}; expected calibration error on validation 0."
        in card
    )


def test_a_promotion_measures_what_finds_wrong_decisions(story: Story, manifest: Manifest) -> None:
    _, predictor = read(story, "3")
    found = predictor.error_detection
    assert found is not None and found.entropy is not None and found.uncertainty is not None
    prediction = predictor.predict(manifest.split("val")["bytes"].to_pylist())
    calibrated_NK = predictor.rule.calibrate(prediction.scores_NK)
    wrong_NK = predictor.rule.decide(calibrated_NK) != (manifest.targets("val") == 1)
    assert (found.images, found.decisions, found.wrong) == (32, 320, wrong_NK.sum())
    for area, values_NK in (
        (found.entropy, binary_entropy(calibrated_NK)),
        (found.uncertainty, prediction.uncertainties_NK),
    ):
        bounds = Promotion()
        expected = measure_detection_area(
            values_NK, wrong_NK, np.ones_like(wrong_NK), resamples=bounds.resamples, confidence=bounds.confidence
        )
        assert expected is not None
        assert area.auroc == pytest.approx(expected.auroc, abs=0.01)
        assert (area.low, area.high) == (pytest.approx(expected.low, abs=0.02), pytest.approx(expected.high, abs=0.02))
    shown = " (shown)" if found.uncertainty.low > 0.5 else " (not above 0.5, so predictions leave it out)"
    line = f"found by entropy: {found.entropy}; by the kernels' uncertainty: {found.uncertainty}{shown}"
    assert line in story.answers["forced"].output
    card = connect(story.store).get_model_version("small", "3").description
    assert (
        f"**Finding wrong decisions**: AUROC with 95 % interval, on 320 validation decisions, {found.wrong} of" in card
    )
    # The kernels of version 2 were not trained, so only its entropy is measured.
    _, other = read(story, "2")
    assert other.error_detection is not None and other.error_detection.uncertainty is None
    assert "uncertainty" not in story.answers["is_better"].output


def test_changed_weights_are_refused(story_copy: Path, tmp_path: Path) -> None:
    weights = model_folder(story_copy, "2") / "model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    image = tmp_path / "image.png"
    Image.new("RGB", (40, 40)).save(image)
    for answer in (
        kmcl("predict", "models:/small@champion", image, store=story_copy), promote(open_store(story_copy))
    ):  # fmt: skip
        assert answer.exit_code == 2
        assert f"{weights}: got SHA-256 " in answer.stderr
        assert len(answer.stderr.splitlines()) == 1
