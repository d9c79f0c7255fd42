"""Arms: the search of each arm, and the line that refuses each wrong file."""

from pathlib import Path

import pytest

from kmcl_platform.config.arms import expand_arms, retrain_best, to_yaml
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file, read_search_file
from kmcl_platform.errors import ConfigError

GOOD = """
name: race
base: {optim: {lr: 1e-3}, loss: {clip: 0.05}}
arms:
  bce: {loss.objective: bce, optim.weight_decay: 0}
  kmcl: {loss.objective: kmcl, optim.weight_decay: 1e-4}
space:
  optim.lr: {kind: loguniform, low: 1e-4, high: 1e-2}
  loss.temperature: {kind: loguniform, low: 0.05, high: 1, when: {loss.objective: kmcl}}
budget: {trials: 3}
sampler: {kind: random, seed: 7}
"""


def parse(text: str) -> SearchFile:
    return parse_search_file(text.encode(), "f.yaml")


def arms_of(text: str) -> dict[str, SearchFile]:
    return {search.name: search for search in expand_arms(parse(text))}


def test_a_file_without_arms_is_its_own_search() -> None:
    file = read_search_file(Path("search_spaces/digits.yaml"))
    assert expand_arms(file) == [file]


def test_each_arm_is_a_search_with_the_whole_budget_and_its_own_values() -> None:
    file = parse(GOOD)
    bce, kmcl = expand_arms(file)
    assert [bce.name, kmcl.name] == ["race-bce", "race-kmcl"]
    for search in (bce, kmcl):
        assert search.arms == {}
        assert search.baselines == (), "the arms are compared with one another"
        assert (search.budget, search.scheduler, search.sampler) == (file.budget, file.scheduler, file.sampler)
        assert search.base.optim.lr == 0.001
    assert (bce.base.loss.objective, kmcl.base.loss.objective) == ("bce", "kmcl")
    assert (bce.base.optim.weight_decay, kmcl.base.optim.weight_decay) == (0, 1e-4)


def test_a_condition_on_a_path_that_the_arms_set_is_resolved() -> None:
    arms = arms_of(GOOD)
    assert list(arms["race-bce"].space) == ["optim.lr"]
    assert list(arms["race-kmcl"].space) == ["optim.lr", "loss.temperature"]
    assert arms["race-kmcl"].space["loss.temperature"].when == {}


def test_other_conditions_stay_and_the_base_decides_those_on_paths_that_are_not_searched() -> None:
    text = GOOD.replace(
        "budget:",
        "  model.kernels_per_class: {kind: int, low: 1, high: 3, when: {loss.objective: kmcl}}\n"
        "  loss.contrastive_weight: {kind: uniform, low: 0, high: 1, when: {model.kernels_per_class: 2}}\n"
        "  loss.clip: {kind: uniform, low: 0, high: 0.1, when: {model.kernels_per_class: 1}}\n"
        "budget:",
    )
    arms = arms_of(text)
    # This arm does not search kernels_per_class: every trial has the base's 1.
    assert list(arms["race-bce"].space) == ["optim.lr", "loss.clip"]
    assert arms["race-bce"].space["loss.clip"].when == {}
    assert len(arms["race-kmcl"].space) == 5
    assert arms["race-kmcl"].space["loss.clip"].when == {"model.kernels_per_class": 1}


def test_an_arm_that_is_written_as_a_file_is_the_same_search() -> None:
    for search in expand_arms(parse(GOOD)):
        assert parse_search_file(to_yaml(search), "arm.yaml") == search


def test_the_shipped_arms_search_only_values_that_their_objective_uses() -> None:
    arms = {search.name: search for search in expand_arms(read_search_file(Path("search_spaces/digits_arms.yaml")))}
    assert list(arms) == [f"digits_arms-{arm}" for arm in ("bce", "asymmetric", "kmcl", "kmcl_per_feature")]
    assert [len(search.space) for search in arms.values()] == [1, 1, 5, 5]
    assert {search.budget.trials for search in arms.values()} == {12}
    assert arms["digits_arms-kmcl_per_feature"].base.loss.kernel_scale == "per_feature"


def test_the_best_of_every_arm_is_trained_again_on_the_same_new_seeds() -> None:
    file = parse(GOOD)
    again = [retrain_best(search, 7, search.base.with_values({"optim.lr": 2e-3}), 4) for search in expand_arms(file)]
    assert [search.name for search in again] == ["race-bce-best7", "race-kmcl-best7"]
    assert [search.base.loss.objective for search in again] == ["bce", "kmcl"]
    seeds = [search.space["seed"].edges() for search in again]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 4 and file.base.seed not in seeds[0]
    for search in again:
        assert (search.budget.trials, search.baseline, search.scheduler.name) == (4, False, "none")
        assert search.baselines == ()
        assert search.base.optim.lr == 2e-3
        assert parse_search_file(to_yaml(search), "again.yaml") == search


def test_another_sampler_seed_gives_other_training_seeds() -> None:
    seeds = []
    for seed in (7, 8):
        search = expand_arms(parse(GOOD.replace("seed: 7", f"seed: {seed}")))[0]
        seeds.append(set(retrain_best(search, 0, search.base, 5).space["seed"].edges()))
    assert seeds[0].isdisjoint(seeds[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("sampler:", "verdict: {seeds: 1}\nsampler:"), "f.yaml: verdict.seeds: got 1; valid: 0, or at least 2"),
        (("sampler:", "verdict: {seed: 3}\nsampler:"), "f.yaml: verdict.seed: unknown name; valid: seeds"),
        (("bce: {loss.objective:", "bce: {loss.objectiv:"), "f.yaml: arms.bce.loss.objectiv: unknown path; valid: loss.objective, "),
        (("objective: bce", "objective: bcee"), "f.yaml: arms.bce.loss.objective: got 'bcee'; valid: bce, asymmetric, "),
        (
            ("bce: {loss.objective: bce,", "bce: {loss: {objective: bce},"),
            "f.yaml: arms.bce.loss: valid: one value: a number, text, true, false or null",
        ),
        (("bce: {loss.objective: bce,", "bce: {data.source: x.parquet,"), "f.yaml: arms.bce.data.source: got 'x.parquet', but arms on different data"),
        (("bce: {loss.objective: bce,", "bce: {num_epochs: 2,"), "f.yaml: arms.bce.num_epochs: got 2, but arms of different length"),
        (("weight_decay: 0}", "lr: 1e-3}"), "f.yaml: arms.bce.optim.lr: got 0.001, but space.optim.lr searches it; valid: one of the two"),
        ((", optim.weight_decay: 1e-4", ""), "f.yaml: arms.kmcl: got loss.objective; valid: the paths that arms.bce sets, loss.objective, optim.weight_decay"),
        (("{loss.objective: bce, optim.weight_decay: 0}", "{}"), "f.yaml: arms.bce: got nothing; valid: at least one path"),
        (("  bce: {", "  B C E: {"), "f.yaml: arms.B C E: got 'B C E'; valid: a name of lower-case letters, digits, - and _"),
        (("  bce: {", f"  {'b' * 60}: {{"), f"f.yaml: arms.{'b' * 60}: got race-{'b' * 60}-best2; valid: a search's name of at most 63"),
        (("  kmcl: {loss.objective: kmcl, optim.weight_decay: 1e-4}\n", ""), "f.yaml: arms: got 1; valid: at least 2, or no arms"),
        (("loss.temperature:", "loss.temprature:"), "f.yaml: space.loss.temprature: unknown path; valid: loss.temperature, "),
        (
            ("when: {loss.objective: kmcl}", "when: {loss.objective: kmcll}"),
            "f.yaml: space.loss.temperature.when.loss.objective: got 'kmcll'; valid: a value that some arm sets: 'bce', 'kmcl'",
        ),
        (
            ("when: {loss.objective: kmcl}", "when: {loss.clip: 0.05}"),
            "f.yaml: space.loss.temperature.when: got 'loss.clip'; valid: a path that the arms set, or a path of the space "
            "that comes before it: loss.objective, optim.weight_decay, optim.lr",
        ),
        (
            ("when: {loss.objective: kmcl}", "when: {loss.objective: kmcl, optim.weight_decay: 0}"),
            "f.yaml: space.loss.temperature.when: holds in no arm; valid: conditions that some arm meets together",
        ),
        (
            ("  optim.lr: {kind: loguniform, low: 1e-4, high: 1e-2}\n", ""),
            "f.yaml: arms.bce: leaves nothing to search; valid: at least one path of the space for every arm",
        ),
        (
            ("low: 0.05, high: 1", "low: 0.5, high: 1"),
            "f.yaml: base.loss.temperature: got 0.17; valid: a value within space.loss.temperature, because the base is the "
            "first trial (or set baseline: false) (search race-kmcl)",
        ),
        (("arms:", "arms: [1]\nbudge:"), "f.yaml: arms: got [1]; valid: a mapping, such as {name: value}"),
    ],
)  # fmt: skip
def test_wrong_arms_are_refused_in_one_line(change: tuple[str, str], message: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace(*change))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
