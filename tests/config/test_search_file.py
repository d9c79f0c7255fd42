"""SearchFile: valid files, and the line that refuses each wrong file."""

import importlib.util
import re
from pathlib import Path

import pytest

from kmcl_platform.config.arms import to_yaml
from kmcl_platform.config.search_file_reader import parse_search_file, read_search_file
from kmcl_platform.config.search_parts import ACCELERATOR_TYPES
from kmcl_platform.errors import ConfigError

GOOD = """
name: trial
base: {optim: {lr: 1e-3}, data: {batch_size: 64}}
space:
  loss.temperature: {kind: loguniform, low: 0.05, high: 1}
budget: {trials: 3}
"""


def parse(text: str) -> object:
    return parse_search_file(text.encode(), "f.yaml")


def test_every_shipped_search_space_is_valid() -> None:
    shipped = sorted(Path("search_spaces").glob("*.yaml"))
    assert shipped
    for path in shipped:
        file = read_search_file(path)
        assert file.name == path.stem
        # A file that a program writes is valid too, and has the same values.
        assert parse_search_file(to_yaml(file), "again.yaml") == file
        assert (file.verdict is None) == (not file.arms)


def test_the_digits_search_has_the_values_of_the_readme() -> None:
    file = read_search_file(Path("search_spaces/digits.yaml"))
    assert (file.budget.trials, file.base.num_epochs, file.objective.metric) == (8, 6, "val/mAP")
    base = file.base
    assert (base.model.kernels_per_class, base.loss.temperature) == (1, 0.17)
    weights = base.loss.asymmetric_weight, base.loss.reconstruction_weight, base.loss.contrastive_weight
    assert weights == (1, 0.1, 0.1)
    assert "loss.asymmetric_weight" not in file.space
    assert file.baseline
    assert [(one.name, one.values) for one in file.baselines or ()] == [
        ("asymmetric", {"loss.objective": "asymmetric"})
    ]


@pytest.mark.locked
def test_the_types_of_gpus_are_those_of_ray() -> None:
    # As text: the import of Ray takes seconds.
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).parent.joinpath("util", "accelerators", "accelerators.py").read_text()
    assert re.findall(r'^(?:NVIDIA|AMD)_\w+ = "(.+)"', text, re.MULTILINE) != []
    assert set(re.findall(r'^(?:NVIDIA|AMD)_\w+ = "(.+)"', text, re.MULTILINE)) == set(ACCELERATOR_TYPES)


def test_a_number_with_an_exponent_is_a_number() -> None:
    assert parse_search_file(GOOD.encode(), "f.yaml").base.optim.lr == 0.001


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("loss.temperature:", "loss.temprature:"), "f.yaml: space.loss.temprature: unknown path; valid: loss.temperature, "),
        (("low: 0.05", "low: 2"), "f.yaml: space.loss.temperature: valid: low below high (low is 2.0, high is 1.0)"),
        (
            ("loguniform, low: 0.05", "uniform, low: 0"),
            "f.yaml: space.loss.temperature: got 0.0, which makes an invalid trial: loss.temperature: got 0.0; "
            "valid: a number above 0",
        ),
        (("kind: loguniform", "kind: log"), "f.yaml: space.loss.temperature.kind: got 'log'; valid: 'uniform', "),
        (
            ("loguniform, low: 0.05", "uniform, zero: true, low: 0.05"),
            "f.yaml: space.loss.temperature.zero: got True; valid: only with kind loguniform",
        ),
        (
            ("low: 0.05", "zero: true, low: 0.05"),
            "f.yaml: space.loss.temperature: got 0.0, which makes an invalid trial: loss.temperature: got 0.0; valid: a number",
        ),
        (
            ("low: 0.05, high: 1", "zero: true, low: 1e-200, high: 1e+250"),
            "f.yaml: space.loss.temperature: valid: a narrower range where zero is true (low is 1e-200, high is 1e+250)",
        ),
        (
            (
                "loss.temperature: {kind: loguniform, low: 0.05, high: 1}",
                "{loss.asymmetric_weight: &w {kind: loguniform, low: 0.1, high: 1, zero: true}, "
                "loss.reconstruction_weight: *w, loss.contrastive_weight: *w}",
            ),
            "f.yaml: space with all zeros together: got {'loss.asymmetric_weight': 0.0, ",
        ),
        (
            ("budget:", "baselines: [{name: plain, values: {loss.objektive: bce}}]\nbudget:"),
            "f.yaml: baselines.plain.loss.objektive: unknown path; valid: loss.objective, ",
        ),
        (
            ("budget:", "baselines: [{name: plain, values: {loss.objective: mse}}]\nbudget:"),
            "f.yaml: baselines.plain: got {'loss.objective': 'mse'}, which makes an invalid trial: loss.objective: got 'mse'",
        ),
        (
            ("budget:", "baselines: [{name: plain, values: {optim.lr: '0.1'}}]\nbudget:"),
            "f.yaml: baselines.plain.optim.lr: got '0.1', which a trial reads as 0.1; valid: 0.1",
        ),
        (
            ("budget:", "baselines: [{name: short, values: {num_epochs: 1}}]\nbudget:"),
            "f.yaml: baselines.short.num_epochs: got 1, but trials of different length cannot be compared; valid: any other",
        ),
        (
            ("budget:", "baselines: [{name: same, values: {loss.objective: kmcl}}]\nbudget:"),
            "f.yaml: baselines.same: got {'loss.objective': 'kmcl'}, the same trial as kmcl; valid: other values",
        ),
        (
            ("budget:", "baselines: [{name: kmcl, values: {loss.objective: bce}}]\nbudget:"),
            "f.yaml: baselines.kmcl: got 'kmcl' a second time; valid: a name of its own (the base has the name kmcl)",
        ),
        (("budget:", "baselines: [{name: A b, values: {seed: 1}}]\nbudget:"), "f.yaml: baselines.0.name: got 'A b'; valid: lower"),
        (("budget:", "baselines: [{name: a, values: {}}]\nbudget:"), "f.yaml: baselines.0.values: valid: at least 1"),
        (("budget:", "baselines: [{values: {seed: 1}}]\nbudget:"), "f.yaml: baselines.0.name: missing; valid: "),
        (("budget:", "baselines: {a: 1}\nbudget:"), "f.yaml: baselines: valid: a list"),
        (
            ("budget:", "baselines: [{name: a, values: {seed: 1}}, {name: b, values: {seed: 2}}]\nbudget:"),
            "f.yaml: budget.trials: got 3; valid: at least 4, for 3 baselines (kmcl, a, b) and one more trial; or fewer in baselines",
        ),
        (("lr: 1e-3", "lr: fast"), "f.yaml: base.optim.lr: got 'fast'; valid: a number"),
        (("lr: 1e-3", "lrr: 1e-3"), "f.yaml: base.optim.lrr: unknown name; valid: backbone_lr_factor, "),
        (("lr: 1e-3", "lr: .inf"), "f.yaml: base.optim.lr: got inf; valid: a finite number"),
        (("trials: 3", "trials: 0"), "f.yaml: budget.trials: got 0; valid: a number of at least 1"),
        (("budget: {trials: 3}", ""), "f.yaml: budget: missing; valid: give it a value"),
        (("name: trial", "name: trial\nobjective: {metric: val/map}"), "f.yaml: objective.metric: got 'val/map'; valid: one of"),
        (
            ("name: trial", "name: trial\nobjective: {metric: val/mAP, mode: minimize}"),
            "f.yaml: objective.mode: got minimize; valid: maximize, the direction in which val/mAP gets better",
        ),
        (
            ("name: trial", "name: trial\nobjective: {metric: train/loss, mode: maximize}"),
            "f.yaml: objective.mode: got maximize; valid: minimize, the direction in which train/loss gets better",
        ),
        (("name: trial", "name: trial\nname: other"), "f.yaml:3: 'name' is given twice, here and in line 2"),
        (
            ("budget:", "  loss.temperature: {kind: uniform, low: 0.1, high: 1}\nbudget:"),
            "f.yaml:6: 'loss.temperature' is given twice, here and in line 5",
        ),
        (("name: trial", "name: [trial"), "f.yaml:"),
        (("name: trial", "name: No Good"), "f.yaml: name: got 'No Good'; valid: lower-case letters"),
        (("base: {", "base: {num_epochs: 1:30, "), "f.yaml: base.num_epochs: got '1:30'; valid: a whole number"),
        (("lr: 1e-3", "lr: 99"), "f.yaml: base.optim.lr: got 99; valid: a number of at most 10"),
        (("lr: 1e-3", "optimizer: sgd"), "f.yaml: base.optim.optimizer: got 'sgd'; valid: 'adam' or 'adamw'"),
        (("lr: 1e-3", "lr: null"), "f.yaml: base.optim.lr: got None; valid: a number"),
        (("trials: 3", "trials: true"), "f.yaml: budget.trials: got True; valid: a whole number"),
        (("lr: 1e-3", "lr: false"), "f.yaml: base.optim.lr: got False; valid: a number"),
        (("trials: 3", "trials: 1.5"), "f.yaml: budget.trials: got 1.5; valid: a whole number"),
        (("budget: {trials: 3}", "budget: 3"), "f.yaml: budget: got 3; valid: a mapping, such as {name: value}"),
        (("space:", "scheduler:\nspace:"), "f.yaml: scheduler: got None; valid: a mapping"),
        (("space:", "scheduler: {min_epochs: 1}\nspace:"), "f.yaml: scheduler.kind: missing; valid: adaptive, hyperband, "),
        (("space:", "scheduler: {kind: none, x: 1}\nspace:"), "f.yaml: scheduler.x: unknown name; valid: "),
        (("space:", "1: 2\nspace:"), "f.yaml: 1: got 1 as a name; valid: text"),
        (("{kind: loguniform, low: 0.05, high: 1}", "{low: 1}"), "f.yaml: space.loss.temperature.kind: missing; valid: uniform, "),
        (("{kind: loguniform, low: 0.05, high: 1}", "{kind: choice, choices: []}"), "f.yaml: space.loss.temperature.choices: got []; valid: at least 1"),
        (("{kind: loguniform, low: 0.05, high: 1}", "{kind: choice, choices: [[1]]}"), "f.yaml: space.loss.temperature.choices.0: got [1]; valid: one value: "),
        (("{kind: loguniform, low: 0.05, high: 1}", "{kind: choice, choices: [.nan]}"), "f.yaml: space.loss.temperature.choices.0: got nan; valid: a finite number"),
        (("{kind: loguniform, low: 0.05, high: 1}", "{kind: choice, choices: ['0.17']}"), "f.yaml: space.loss.temperature: got '0.17', which a trial reads as 0.17; valid: 0.17"),
        (("loss.temperature: {kind: loguniform, low: 0.05, high: 1}", "model.pretrained: {kind: choice, choices: [no, yes]}"), "f.yaml: space.model.pretrained: got 'no', which a trial reads as False; valid: false"),
        (("loss.temperature: {kind: loguniform, low: 0.05, high: 1}", "data.augmentation: {kind: choice, choices: [none, off]}"), "f.yaml: space.data.augmentation: got 'off', which makes an invalid trial: data.augmentation: got 'off'; valid: flip, none, "),
        (("low: 0.05", "low: 0.5"), "f.yaml: base.loss.temperature: got 0.17; valid: a value within space.loss.temperature"),
        (
            ("budget:", "resources: {workers_per_trial: 3}\nbudget:"),
            "f.yaml: space.loss.temperature: data.batch_size: got 64; valid: a multiple of resources.workers_per_trial, 3",
        ),
        (("budget:", "resources: {gpus_per_worker: 2}\nbudget:"), "f.yaml: resources.gpus_per_worker: got 2; valid: at most 1, because"),
        (
            ("budget:", "resources: {gpus_per_worker: 1, accelerator_type: a100}\nbudget:"),
            "f.yaml: resources.accelerator_type: got 'a100'; valid: one of Ray's names: V100, P100, ",
        ),
        (
            ("budget:", "resources: {accelerator_type: A100}\nbudget:"),
            "f.yaml: resources.accelerator_type: got 'A100'; valid: no value with gpus_per_worker: 0, because workers have no GPU",
        ),
        (
            ("budget:", "resources: {workers_per_trial: 2, gpus_per_worker: 0.5}\nbudget:"),
            "f.yaml: resources.gpus_per_worker: got 0.5; valid: 0 or 1 with more than one of workers_per_trial",
        ),
        (("budget:", "scheduler: {kind: successive_halving, min_epochs: 9}\nbudget:"), "f.yaml: scheduler.min_epochs: got 9"),
        (
            ("high: 1}", "high: 1, when: {loss.objective: kmcl}}"),
            "f.yaml: space.loss.temperature.when: got 'loss.objective'; valid: a path of the space that comes before it: none",
        ),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_in_one_line(change: tuple[str, str], message: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace(*change))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"just text", b"- a\n- b", b""])
def test_a_document_that_is_not_a_mapping_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^f\.yaml: "):
        parse_search_file(content, "f.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        read_search_file(tmp_path / "none.yaml")


def test_a_search_may_change_its_decision() -> None:
    from kmcl_platform.search.study.definition import _definition

    plain = parse_search_file(GOOD.encode(), "f.yaml")
    changed = parse_search_file((GOOD + "decision: {objective: precision, floor: 0.95}\n").encode(), "f.yaml")
    assert (changed.decision.objective, changed.decision.floor) == ("precision", 0.95)
    assert _definition(plain) == _definition(changed)
    assert not any(path.startswith("decision") for path in _definition(plain))
    with pytest.raises(ConfigError, match=re.escape("f.yaml: decision.floor: got 0; valid: a number above 0")):
        parse(GOOD + "decision: {floor: 0}\n")
    with pytest.raises(ConfigError, match="f.yaml: decision.objectiv: unknown name; valid: calibration, floor, min_"):
        parse(GOOD + "decision: {objectiv: f1}\n")


def test_numbers_and_words_of_yaml_1_1_are_read_as_yaml_1_2() -> None:
    file = parse_search_file(GOOD.replace("name: trial", "name: no").replace("64", "0100").encode(), "f.yaml")
    assert (file.name, file.base.data.batch_size) == ("no", 100)
    choices = GOOD.replace("{kind: loguniform, low: 0.05, high: 1}", "{kind: choice, choices: [1e-3, 0.17]}")
    assert parse_search_file(choices.encode(), "f.yaml").space["loss.temperature"].edges() == [0.001, 0.17]


@pytest.mark.parametrize("wrong", ["name: {}", "objective: {{metric: {}}}", "budget: {{trials: {}}}", "{}: 1"])
@pytest.mark.parametrize("value", ["x" * 3_000_000, "[" + "1, " * 20_000 + "1]"])
def test_a_huge_value_does_not_make_a_huge_message(wrong: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"space: {{}}\n{wrong.format(value)}")
    assert len(str(caught.value)) <= 1000
