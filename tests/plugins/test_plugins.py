"""Plug-ins: found beside a search file, loaded by their content, and refused in one line."""

import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import ConfigError
from kmcl_platform.plugins import Loss, component as component_module, find_component, list_components, source as module
from kmcl_platform.plugins.source import know_documents, to_documents
from kmcl_platform.search.run.checks.loss_check import check_losses
from kmcl_platform.search.run.checks.requirement_check import check_requirements
from tests.support.example import PLUGIN, SEARCH


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The search file of docs/plugins.md, beside its plug-in."""
    (tmp_path / "my_losses.py").write_text(PLUGIN)
    (tmp_path / "heavy.yaml").write_text(SEARCH)
    return tmp_path / "heavy.yaml"


def test_the_example_is_as_short_as_promised() -> None:
    assert len(PLUGIN.splitlines()) <= 30
    assert sum(line.startswith("plugins:") or "heavy_positives" in line for line in SEARCH.splitlines()) <= 3


def test_a_search_file_loads_its_plugin_and_fills_in_its_options(file: Path) -> None:
    search = read_search_file(file)
    assert search.base.flat()["loss.options.heavy_positives.weight"] == 2
    assert search.base.with_values({"loss.options.heavy_positives.weight": 5}).loss.options == {
        "heavy_positives": {"weight": 5.0}
    }
    assert "heavy_positives" in list_components(Loss)
    # With KMCL's terms beside it, its own loss is one of the baselines.
    file.write_text(SEARCH.replace("{objective: heavy_positives}", "{classification: heavy_positives}"))
    from kmcl_platform.config.first_trials import list_baselines

    assert [one.name for one in list_baselines(read_search_file(file))] == ["heavy_positives", "asymmetric", "bce"]


def test_a_configuration_loads_exactly_the_code_that_it_names(file: Path) -> None:
    first = read_search_file(file).base
    documents = to_documents(first.plugins)
    plugin = file.parent / "my_losses.py"
    plugin.write_text(PLUGIN.replace("default=2.0", "default=3.0"))
    second = read_search_file(file).base
    assert second.plugins != first.plugins
    assert second.flat()["loss.options.heavy_positives.weight"] == 3
    # The former code is loaded again for a record that names it.
    assert TrialConfig.from_record(first.model_dump()) == first
    assert find_component(Loss, "heavy_positives")().model_dump() == {"weight": 2.0}
    plugin.unlink()
    module._known.clear()
    module._loaded.clear()
    with pytest.raises(
        ValueError, match=r"plugins\.my_losses: got [0-9a-f]{12}, whose code is not here; valid: my_losses\.py"
    ):
        TrialConfig.from_record(first.model_dump())
    know_documents(documents)
    assert TrialConfig.from_record(first.model_dump()) == first


RESULT = "return (losses_BK * weights_BK * known_BK).sum(1)"

BAD = {
    "does not import": (
        "from pydantic import Field",
        "import no_such_module",
        r"my_losses\.py cannot be loaded: ModuleNot",
    ),
    "no syntax": (
        "class HeavyPositives",
        "klass HeavyPositives",
        r"cannot be loaded: SyntaxError: .*valid: a module that",
    ),
    "a taken name": (
        '"heavy_positives"',
        '"focal"',
        r"register\('focal'\): got a loss that kmcl_platform\.",
    ),
    "a bad name": ('"heavy_positives"', '"Heavy"', r"register\('Heavy'\): got a name that is not valid; valid: lower"),
    "no component": ("(Loss)", "", r"got .*HeavyPositives.*; valid: a class that inherits"),
    "no loss": ("def loss(", "def los(", r"got a class without the method `loss`; valid: a class that has it"),
    "fails at its end": (
        RESULT,
        RESULT + "\n\n\nraise RuntimeError('no data')",
        r"cannot be loaded: RuntimeError: no data \(my_losses\.py, line \d+\); valid",
    ),
    "no default": (
        "Field(default=2.0, gt=0)",
        "Field(gt=0)",
        r"option weight has no default; valid: a default for each",
    ),
}


@pytest.mark.parametrize(("before", "after", "message"), BAD.values(), ids=BAD)
def test_a_plugin_that_cannot_be_loaded_is_one_line(file: Path, before: str, after: str, message: str) -> None:
    changed = PLUGIN.replace(before, after)
    assert changed != PLUGIN
    (file.parent / "my_losses.py").write_text(changed)
    with pytest.raises(ConfigError, match=message) as caught:
        read_search_file(file)
    assert str(caught.value).startswith(f"{file}: plugins.my_losses: ")
    assert "\n" not in str(caught.value)
    assert "heavy_positives" not in list_components(Loss)
    # After the mistake is repaired, the same process reads the file.
    (file.parent / "my_losses.py").write_text(PLUGIN)
    read_search_file(file)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("[my_losses]", "[my_loses]", r"plugins: got 'my_loses'; valid: a file .*/my_loses\.py, or an installed module"),
        ("[my_losses]", "[../my_losses]", r"plugins: got '\.\./my_losses'; valid: the name of a module, without folder"),
        ("[my_losses]", "[json]", r"plugins: got 'json'; valid: a file"),
        ("[my_losses]", "[this]", r"plugins: got 'this', a module of Python; valid: a module of your own"),
        ("[my_losses]", "my_losses", r"plugins: got 'my_losses'; valid: "),
        ("plugins: [my_losses]\n", "", r"loss\.objective: got 'heavy_positives'; valid: .*or the name in a plug-in"),
        ("weight: {kind", "wait: {kind", r"space\.loss\.options\.heavy_positives\.wait: unknown path; valid: loss\.options"),
        ("low: 0.5", "low: 0.5, zero: true", r"weight: got 0\.0, which makes an invalid trial: .*weight: got 0\.0; valid: a number above 0"),
        ("{objective: heavy_positives}", "{objective: heavy_positives, label_smoothing: 0.1}", r"label_smoothing: got 0\.1; valid: 0"),
        ("num_epochs", "plugins: {my_losses: abc}\n  num_epochs", None),
    ],
)  # fmt: skip
def test_bad_search_files(file: Path, before: str, after: str, message: str | None) -> None:
    changed = SEARCH.replace(before, after)
    assert changed != SEARCH
    file.write_text(changed)
    if message is None:  # The digests are the platform's: those of an exported file may be old.
        assert read_search_file(file).base.plugins["my_losses"] != "abc"
        return
    with pytest.raises(ConfigError, match=message) as caught:
        read_search_file(file)
    assert "\n" not in str(caught.value)


WRONG = {
    "shape": (
        "return (losses_BK * weights_BK * known_BK)",
        r"got a result of float32 of shape \(6, 5\); valid: .* \(6,\)",
    ),
    "no tensor": ("return 3", r"got a result of type int; valid: a floating-point tensor"),
    "no gradient": ("return losses_BK.sum(1).detach()", r"got a result without gradient; valid: one that torch can"),
    "NaN": ("return losses_BK.sum(1) * float('nan')", r"got nan for made-up images; valid: a finite number"),
    "an error": ("return logits_BK.no_such()", r"raises AttributeError: .*; valid: no error"),
    "nothing to learn": (
        "return 0 * logits_BK.sum(1)",
        r"got a gradient of 0 for all logits; valid: a loss that depends",
    ),
}


@pytest.mark.parametrize(("result", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_loss_is_found_before_anything_starts(file: Path, result: str, message: str) -> None:
    (file.parent / "my_losses.py").write_text(PLUGIN.replace(RESULT, result))
    search = read_search_file(file)
    with pytest.raises(ConfigError, match=r"^plugins\.my_losses: the loss heavy_positives:? " + message) as caught:
        check_losses(search)
    assert re.search(r"\n", str(caught.value)) is None


def test_a_good_loss_passes(file: Path) -> None:
    check_losses(read_search_file(file))


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ("base: {loss: {objective: two_way}}\nspace: {optim.lr: {kind: uniform, low: 0.0001, high: 0.2}}", "objective"),
        ("space: {loss.classification: {kind: choice, choices: [asymmetric, two_way]}}", "classification"),
        (
            "space: {optim.lr: {kind: uniform, low: 0.0001, high: 0.2}}\n"
            "baselines: [{name: other, values: {loss.objective: two_way}}]",
            "objective",
        ),
        (
            "space: {optim.lr: {kind: uniform, low: 0.0001, high: 0.2}}\n"
            "arms: {one: {loss.objective: two_way}, two: {loss.objective: bce}}",
            "objective",
        ),
    ],
)
@pytest.mark.parametrize("version", ["1.0.30", None])
def test_a_loss_whose_package_is_too_old_or_missing_is_found_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, lines: str, field: str
) -> None:
    def installed(name: str) -> str:
        if version is None:
            raise PackageNotFoundError(name)
        return version

    monkeypatch.setattr(component_module, "version", installed)
    (tmp_path / "one.yaml").write_text(f"name: one\nbudget: {{trials: 3}}\n{lines}\n")
    search = read_search_file(tmp_path / "one.yaml")
    with pytest.raises(ConfigError) as caught:
        check_requirements(search)
    why = "; installed is 1.0.30" if version else ", which is not installed"
    assert str(caught.value) == (
        f"loss.{field}: got two_way, which needs timm>=1.0.31{why}; valid: another loss, or this package"
    )
    monkeypatch.setattr(component_module, "version", lambda _: "1.1.0.dev0")
    check_requirements(search)
