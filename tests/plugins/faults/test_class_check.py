"""Faults that are found when the file of a plug-in is read: its name, its classes, their options."""

import sys
from pathlib import Path

import pytest

from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import ConfigError, PluginError
from kmcl_platform.plugins import list_components
from kmcl_platform.plugins.loss import Loss
from tests.plugins.faults.written import SEARCH, TOP, loss, one_line, write


@pytest.mark.parametrize("name", ["json", "os", "random", "torch", "pluggy", "kmcl_platform"])
def test_a_plugin_cannot_have_the_name_of_another_module(tmp_path: Path, name: str) -> None:
    before = sys.modules.get(name)
    with pytest.raises(
        ConfigError, match=rf"got '{name}' \(.*/{name}\.py\), which is also the name of a module of Pyt"
    ):
        read_search_file(write(tmp_path, "", name=name))
    assert sys.modules.get(name) is before


def test_a_plugin_may_be_in_a_folder_where_python_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = write(tmp_path, "", name="my_own_plugin")
    # The mark with which some editors begin a text in UTF-8.
    (tmp_path / "my_own_plugin.py").write_text(TOP + loss(), encoding="utf-8-sig")
    assert read_search_file(file).plugins == ("my_own_plugin",)


REFUSED = {
    "twice": (loss() + loss(), r"register\('x'\): got a loss that p has registered; valid: another name"),
    "two names": ('@register("y")\n' + loss(), r"register\('y'\): got a class that is registered as 'x' already"),
    "Enum": ('class E(enum.Enum):\n    A = "a"\n' + loss("w: E = E.A"), r"option w: got the type E; valid: bool, int"),
    "Decimal": (loss('w: Decimal = Decimal("1")'), r"option w: got the type Decimal; valid: bool, int, float, str, Non"),
    "Path": (loss('w: pathlib.Path = pathlib.Path("a")'), r"option w: got the type Path; valid: .*Literal, or several"),
    "set": (loss("w: set[int] = {1}"), r"option w: got the type set\[int\]; valid: "),
    "list": (loss("w: list[float] = [1]"), r"option w: got the type list\[float\]; valid: "),
    "bytes": (loss("w: bytes | None = None"), r"option w: got the type bytes \| None; valid: "),
    "unknown type": (loss('w: "Nope" = 1'), r"option w: got the type .*Nope.*; valid: "),
    "any value": (loss("w: object = [1]"), r"option w: got the default \[1\]; valid: a number, text"),
    "alias": (loss('w: float = Field(default=1.0, alias="v")'), r"option w has an alias; valid: no alias"),
    "wrong default": (loss("w: float = Field(default=-1, gt=0)"), r"option w: got -1; valid: a number above 0, but this"),
    "factory": (loss("w: float = Field(default_factory=lambda: 1 / 0)"), r"raises ZeroDivisionError: .* \(p\.py, line 10\)"),
    "post init": (
        loss("def model_post_init(self, context):\n        raise RuntimeError('no')"),
        r"with its defaults it raises RuntimeError: no \(p\.py, line 11\); valid: no error",
    ),
    "init": (loss("def __init__(self, **values):\n        raise KeyError('q')"), r"raises KeyError: 'q' \(p\.py, line 11"),
    "arguments": (loss().replace("positive_BK, ", ""), r"got the method loss\(self, logits_BK, known_BK\); valid: loss\(self,"),
    "end": ("sys.exit(3)\n", r"p\.py cannot be loaded: SystemExit: 3 \(p\.py, line 8\); valid: a module that"),
    "std": (
        '@register("b")\nclass B(CustomBackbone):\n    std = (0, 0, 0)\n    def build(self, size, pretrained): ...\n',
        r"got std = \(0, 0, 0\); valid: three numbers above 0",
    ),
    "mean": (
        '@register("b")\nclass B(CustomBackbone):\n    mean = (0.5, 0.5)\n    def build(self, size, pretrained): ...\n',
        r"got mean = \(0\.5, 0\.5\); valid: three numbers, for red",
    ),
    "option of a reader": (
        '@register("rd")\nclass R(RowReader):\n    w: list[int] = [1]\n    def rows(self, root): ...\n',
        r"option w: got the type list\[int\]; valid: .*Path, tuple\[str, \.\.\.\]",
    ),
    "name of the command": (
        '@register("rd")\nclass R(RowReader):\n    root: str = ""\n    def rows(self, root): ...\n',
        r"got an option root, a name that the platform uses",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("code", "message"), REFUSED.values(), ids=REFUSED)
def test_a_class_that_cannot_be_a_component_is_refused_when_the_file_is_read(
    tmp_path: Path, code: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_search_file(write(tmp_path, code))
    assert one_line(caught).startswith(f"{tmp_path}/s.yaml: plugins.p: {tmp_path}/p.py cannot be loaded: ")
    assert "x" not in list_components(Loss)


@pytest.mark.parametrize("option", ["w: int | None = None", "w: Literal[1, 'a', True] = 'a'", "w: Rate = 0.5"])
def test_types_of_values_are_accepted(tmp_path: Path, option: str) -> None:
    types = "from typing import Annotated, Literal\nRate = Annotated[float, Field(gt=0, lt=1)]\n"
    read_search_file(write(tmp_path, types + loss(option), SEARCH.replace("asymmetric", "x")))


CHECK = (
    "w: float = 1.0\n    @field_validator('w')\n    @classmethod\n    def check(cls, w):\n        {}\n        return w"
)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("if w > 2: raise RuntimeError('boom')", r"s\.yaml: plugins\.p: the loss x with the options \{'w': 3\.?0?\} raises "
         r"RuntimeError: boom \(p\.py, line 14\); valid: no error$"),
        ("if w > 2: raise ValueError('small,\\nor none')", r"loss\.options\.x\.w: got 3\.?0?; valid: small, or none$"),
        ("if w > 2: sys.exit(1)", r"the loss x with the options .* raises SystemExit: 1 \(p\.py, line 14\)"),
        ("w = 'a'", r"plugins\.p: .*"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["base", "space"])
def test_the_check_of_an_option(tmp_path: Path, check: str, message: str, where: str) -> None:
    search = SEARCH.replace("{objective: asymmetric}", "{objective: x}")
    if where == "base":
        search = search.replace("{objective: x}", "{objective: x, options: {x: {w: 3}}}")
    else:
        search = search.replace("budget:", "  loss.options.x.w: {kind: uniform, low: 1, high: 3}\nbudget:")
    with pytest.raises((ConfigError, PluginError), match=message) as caught:
        read_search_file(write(tmp_path, loss(CHECK.format(check)), search))
    one_line(caught)


def test_names_with_line_breaks_stay_on_one_line() -> None:
    with pytest.raises(ConfigError, match=r"'a b\\n'") as caught:
        TrialConfig(own={"a b\n": 1})
    one_line(caught)
