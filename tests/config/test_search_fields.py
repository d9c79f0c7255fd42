"""docs/search_fields.md lists every field of a search file outside of `base`, as the JSON schema has it.

`python -m tests.config.test_search_fields` writes the page again.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kmcl_platform.config.component_field import OF_A_PLUGIN
from kmcl_platform.config.search_file import SearchFile

SCHEMA = SearchFile.model_json_schema()
PAGE = Path("docs/search_fields.md")
HEAD = """# Fields of a search file

This page lists every field of a search file except those of `base`, which [trial_fields.md](trial_fields.md) has. It is made
from the same types that check a file. [search_file.md](search_file.md) explains how the parts work together, with examples.
A field without a default must be given. `kmcl schema` prints all of this as a JSON schema for editors.
"""
TYPES = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true, false", "null": "null"}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
ELSEWHERE = "TrialConfig"
"""Its fields have a page of their own."""
ANY_VALUE = {"boolean", "integer", "number", "string", "null"}
"""The types of a value at a dotted path."""


def show(value: object) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`" if isinstance(value, list | dict) else f"`{_plain(value)}`"


def _plain(value: object) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def name_of(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def name_of_kind(part: str) -> str:
    """The value of a part's field `kind`, as code; empty: it has no such field."""
    kind = SCHEMA["$defs"][part]["properties"].get("kind", {}).get("const")
    return f"`{kind}`" if kind else ""


def what_is_valid(field: dict[str, Any], anchors: dict[str, str]) -> str:
    """The type of a field and its bounds, in words; a part with fields of its own as a link."""
    if "$ref" in field:
        name = name_of(field)
        kind = name_of_kind(name)
        return "[a trial](trial_fields.md)" if name == ELSEWHERE else f"[{kind or 'these fields'}](#{anchors[name]})"
    if field.get("title") == OF_A_PLUGIN:
        return "one of a [plug-in](plugins.md)"
    if {one.get("type") for one in field.get("anyOf", ())} == ANY_VALUE:
        return "a value of the path"
    for union in ("anyOf", "oneOf"):
        if union in field:
            return ", or ".join(dict.fromkeys(what_is_valid(one, anchors) for one in field[union]))
    if "enum" in field or "const" in field:
        return ", ".join(show(value) for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"a list of: {what_is_valid(field['items'], anchors)}"
    if field.get("type") == "object":
        return f"a mapping; each value: {what_is_valid(field['additionalProperties'], anchors)}"
    bounds = [f"{sign} {field[name]:g}" for name, sign in BOUNDS.items() if name in field]
    return " ".join([TYPES[field["type"]], *([", ".join(bounds)] if bounds else [])])


def first_paragraph(part: str) -> str:
    return str(SCHEMA["$defs"][part]["description"]).split("\n\n")[0]


def one_line(text: str) -> str:
    """A docstring as a cell of a table. YAML's name for None is null."""
    return re.sub(r"\bNone\b", "`null`", " ".join(text.split()).replace("|", "\\|"))


def rows(model: dict[str, Any], anchors: dict[str, str]) -> Iterator[str]:
    for name, field in model["properties"].items():
        if "const" in field:
            continue  # The heading names it.
        (target,) = [name_of(one) for one in (field, *field.get("anyOf", ())) if "$ref" in one] or [ELSEWHERE]
        texts = [first_paragraph(target)] if target != ELSEWHERE else []
        meaning = " ".join([*texts, field.get("description", "")]).strip()
        assert meaning, f"{model['title']}.{name}: has no text under it that says what it means"
        default = "" if name in model.get("required", ()) else show(field.get("default", {}))
        if isinstance(value := field.get("default"), dict) and value:
            default = show(value["kind"]) if "oneOf" in field else "those of its fields"
        yield f"| `{name}` | {what_is_valid(field, anchors)} | {default} | {one_line(meaning)} |"


def titles() -> dict[str, str]:
    """The heading of each part with fields, in the order in which the file has them."""
    found: dict[str, str] = {}

    def walk(field: dict[str, Any], title: str) -> None:
        if "$ref" not in field:
            parts = [one for union in ("anyOf", "oneOf") for one in field.get(union, ())]
            parts += [field[key] for key in ("items", "additionalProperties") if isinstance(field.get(key), dict)]
            for part in parts:
                walk(part, title)
            return
        name = name_of(field)
        if name == ELSEWHERE or name in found:
            return
        kind = name_of_kind(name)
        found[name] = f"`{title}`, kind {kind}" if kind else f"`{title}`"
        for key, part in SCHEMA["$defs"][name]["properties"].items():
            walk(part, f"{title}.{key}")

    for key, field in SCHEMA["properties"].items():
        walk(field, key)
    return found


def to_anchor(title: str) -> str:
    return "".join(letter for letter in title.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")


def write_page() -> str:
    headings = titles()
    anchors = {name: to_anchor(title) for name, title in headings.items()}
    head = "| field | valid | default | meaning |\n|---|---|---|---|\n"
    parts = [HEAD, "## The file\n", head + "\n".join(rows(SCHEMA, anchors)) + "\n"]
    for name, title in headings.items():
        lines = list(rows(SCHEMA["$defs"][name], anchors))
        parts += [
            f"## {title}\n",
            f"{one_line(first_paragraph(name))}\n",
            *([head + "\n".join(lines) + "\n"] if lines else []),
        ]
    return "\n".join(parts)


def test_the_page_has_every_field_as_it_is() -> None:
    assert PAGE.read_text() == write_page(), "run: python -m tests.config.test_search_fields"


def test_bounds_are_shown() -> None:
    text = write_page()
    assert "| `trials` | a whole number ≥ 1, ≤ 100000 |  | " in text
    assert "## `scheduler`, kind `adaptive`" in text


if __name__ == "__main__":
    PAGE.write_text(write_page())
