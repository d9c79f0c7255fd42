"""docs/trial_fields.md lists every field of a trial, with its default and meaning, as the code has them.

`python -m tests.config.test_trial_fields` writes the page again.
"""

import ast
import inspect
from pathlib import Path

from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.trial_config import DataConfig, ModelConfig, OptimConfig, TrialConfig

PAGE = Path("docs/trial_fields.md")
PARTS = {"data": DataConfig, "model": ModelConfig, "loss": LossConfig, "optim": OptimConfig, "": TrialConfig}
HEAD = """# The fields of a trial

`base` in a search file is one complete trial. These are its fields, their defaults and their meaning. `space` and `arms` name
them by their dotted paths. A value that is not valid is refused before the search starts, with what is valid.

Paths of files (`data.source`, `model.pretrained_file`) are relative to the folder in which you start the search.

| field | default | meaning |
|---|---|---|
"""


def meanings(model: type) -> dict[str, str]:
    """The text under each field of a class."""
    (definition,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(definition, ast.ClassDef)
    found, name = {}, ""
    for line in definition.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            name = line.target.id
        elif isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and name:
            found[name] = " ".join(str(line.value.value).split()).replace("|", "\\|")
            name = ""
    return found


def write_page() -> str:
    defaults = TrialConfig().flat()
    texts = {
        f"{part}.{name}".lstrip("."): text for part, model in PARTS.items() for name, text in meanings(model).items()
    }
    shown = {True: "true", False: "false", None: "null"}
    rows = [
        f"| `{path}` | `{shown[value] if value is None or isinstance(value, bool) else value}` | {texts[path]} |"
        for path, value in defaults.items()
    ]
    return HEAD + "\n".join(rows) + "\n"


def test_the_page_has_every_field_as_it_is() -> None:
    assert PAGE.read_text() == write_page(), "run: python -m tests.config.test_trial_fields"


if __name__ == "__main__":
    PAGE.write_text(write_page())
