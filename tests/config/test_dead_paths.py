"""A path that changes nothing in any trial is not searched."""

from pathlib import Path
from typing import Any

import pytest

from kmcl_platform.config.search_file_reader import parse_search_file, read_search_file
from kmcl_platform.config.space.dead_paths import find_dead_path
from kmcl_platform.errors import ConfigError
from kmcl_platform.files.yaml_document import write_yaml
from kmcl_platform.search.study.definition import check_new_search

LOW_TO_HIGH = {"kind": "uniform", "low": 0.1, "high": 0.4}
WEIGHT, SHARE = "loss.contrastive_weight", "loss.contrastive_share"
FROZEN = {"model": {"backbone_mode": "frozen", "pretrained": True}}


def problem_of(base: dict[str, Any], space: dict[str, Any]) -> str | None:
    tree = {
        "name": "s",
        "baseline": False,
        "objective": {"metric": "val/mAP", "mode": "maximize"},
        "base": base,
        "space": space,
    }
    file = parse_search_file(write_yaml(tree | {"budget": {"trials": 9}}), "s.yaml")
    return find_dead_path(file.base, file.space)


def choice(*values: object) -> dict[str, Any]:
    return {"kind": "choice", "choices": list(values)}


@pytest.mark.parametrize(
    ("base", "path", "distribution", "needed"),
    [
        ({"loss": {"objective": "bce"}}, "loss.temperature", LOW_TO_HIGH, "loss.objective: kmcl"),
        ({"loss": {"balance": "gradient_shares"}}, WEIGHT, LOW_TO_HIGH, "loss.balance: weights"),
        ({}, SHARE, LOW_TO_HIGH, "loss.balance: gradient_shares"),
        (
            {"loss": {"formulation": "released"}},
            "loss.kernel_scale",
            choice("per_feature", "total"),
            "loss.formulation: corrected",
        ),
        ({}, "model.reduced_dim", {"kind": "int", "low": 64, "high": 128}, "model.kernel: anisotropic"),
        ({"loss": {"objective": "bce"}}, "loss.clip", LOW_TO_HIGH, "loss.classification: asymmetric"),
        ({"loss": {"classification": "hill"}}, "loss.gamma_negative", LOW_TO_HIGH, "loss.classification: asymmetric"),
        (FROZEN, "optim.layer_decay", LOW_TO_HIGH, "model.backbone_mode: finetune"),
        (
            FROZEN | {"data": {"features": "f.parquet"}},
            "data.image_size",
            {"kind": "int", "low": 32, "high": 64},
            "data.features: null",
        ),
    ],
)
def test_it_is_named_with_the_value_that_it_needs(
    base: dict[str, Any], path: str, distribution: dict[str, Any], needed: str
) -> None:
    problem = f"space.{path}: it changes nothing in any trial; valid: not to search it, or {needed}"
    assert problem_of(base, {path: distribution}) == problem


def test_a_path_that_some_trials_need_is_searched() -> None:
    objective = choice("bce", "kmcl")
    assert problem_of({"loss": {"objective": "bce"}}, {"loss.objective": objective, WEIGHT: LOW_TO_HIGH}) is None
    balance = choice("weights", "gradient_shares")
    assert problem_of({}, {"loss.balance": balance, WEIGHT: LOW_TO_HIGH, SHARE: LOW_TO_HIGH}) is None


def test_its_conditions_decide_in_which_trials_it_is_searched() -> None:
    wrong = LOW_TO_HIGH | {"when": {"loss.objective": "bce"}}
    space = {"loss.objective": choice("bce", "kmcl"), "loss.temperature": wrong}
    assert "loss.temperature: it changes nothing" in (problem_of({}, space) or "")


@pytest.mark.parametrize("path", sorted(Path("search_spaces").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_files_have_none(path: Path) -> None:
    file = read_search_file(path)
    assert file.arms or find_dead_path(file.base, file.space) is None


def test_a_new_search_with_one_is_refused(tmp_path: Path) -> None:
    text = (
        f"name: s\nbase: {{loss: {{balance: gradient_shares}}}}\nbudget: {{trials: 9}}\n"
        f"space: {{{WEIGHT}: {{kind: uniform, low: 0.1, high: 0.4}}}}\n"
    )
    message = f"^space.{WEIGHT}: it changes nothing in any trial; valid: not to search it, or loss.balance: weights$"
    with pytest.raises(ConfigError, match=message):
        check_new_search(parse_search_file(text.encode(), "s.yaml"), f"sqlite:///{tmp_path}/study.db")
