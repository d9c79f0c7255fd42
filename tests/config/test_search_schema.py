"""The JSON schema of search files accepts every shipped file, and refuses what one field alone makes wrong.

`python -m tests.config.test_search_schema` writes the shipped schema again.
"""

import json
from pathlib import Path

import jsonschema
import pytest

from kmcl_platform.config.search_file_reader import search_file_schema
from kmcl_platform.errors import ConfigError
from kmcl_platform.files.yaml_document import read_yaml
from tests.config.test_search_file import GOOD, test_a_wrong_file_is_refused_in_one_line as refused
from tests.support.command_line import kmcl
from tests.support.example import SEARCH

SHIPPED = Path("search_spaces/search_file.schema.json")
FIRST_LINE = f"# yaml-language-server: $schema={SHIPPED.name}\n"

ACROSS_FIELDS = (
    "f.yaml: resources.gpus_per_worker: got 0.5; valid: 0 or 1 with more than one",
    "f.yaml: resources.accelerator_type: got 'A100'; valid: no value with gpus_per_worker: 0",
    "f.yaml: objective.mode: got m",
    # A plug-in may have a loss and an augmentation of any name.
    "f.yaml: baselines.plain: got {'loss.objective': 'mse'}",
    "f.yaml: space.data.augmentation: got 'off'",
    "f.yaml: space.loss.temperature: valid: low below high",
    "f.yaml: space.loss.temperature: got 0.0, which makes an invalid trial",
    "f.yaml: space.loss.temperature: valid: a narrower range",
    "f.yaml: space with all zeros together",
    "f.yaml: baselines.short.num_epochs: got 1, but trials of different length",
    "f.yaml: baselines.same: got {'loss.objective': 'kmcl'}, the same trial",
    "f.yaml: baselines.kmcl: got 'kmcl' a second time",
    "f.yaml: budget.trials: got 3; valid: at least 4",
    "f.yaml: base.loss.temperature: got 0.17; valid: a value within",
    "f.yaml: space.loss.temperature: data.batch_size: got 64; valid: a multiple",
    "f.yaml: scheduler.min_epochs: got 9",
    "f.yaml: resources.gpus_per_worker: got 0.5; valid: 0 or 1 with more than one",
    "f.yaml: objective.mode: got m",
    "f.yaml: space.loss.temperature.when: got 'loss.objective'; valid: a path of the space that comes before",
    # JSON has no NaN, so a schema cannot refuse it.
    "f.yaml: space.loss.temperature.choices.0: got nan",
)
"""Messages about several fields together, which a schema cannot find."""


def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(search_file_schema())


def test_it_is_a_schema_and_the_shipped_one_is_current() -> None:
    jsonschema.Draft202012Validator.check_schema(search_file_schema())
    assert json.loads(SHIPPED.read_text()) == search_file_schema() == json.loads(kmcl("schema").stdout)


@pytest.mark.parametrize("path", sorted(Path("search_spaces").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_file_is_valid_and_names_the_schema(path: Path) -> None:
    content = path.read_bytes()
    assert content.decode().startswith(FIRST_LINE)
    assert [error.message for error in validator().iter_errors(read_yaml(content, str(path)))] == []


def test_the_example_of_a_plugin_is_valid() -> None:
    tree = read_yaml(SEARCH.encode(), "heavy.yaml")
    assert [error.message for error in validator().iter_errors(tree)] == []


def test_it_refuses_what_one_field_makes_wrong() -> None:
    (cases,) = [mark.args[1] for mark in refused.pytestmark if mark.name == "parametrize"]
    accepted, checked = [], 0
    for change, message in cases:
        try:
            tree = read_yaml(GOOD.replace(*change).encode(), "f.yaml")
        except ConfigError:
            continue  # It is no YAML document, so no schema sees it.
        checked += 1
        if not list(validator().iter_errors(tree)):
            accepted.append(message)
    assert [message for message in accepted if not message.startswith(ACROSS_FIELDS)] == []
    assert checked - len(accepted) > 25


if __name__ == "__main__":
    SHIPPED.write_text(json.dumps(search_file_schema(), indent=1) + "\n")
