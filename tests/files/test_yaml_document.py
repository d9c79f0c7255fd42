"""read_yaml: values have the type that they look like, every error is one line, and a small document is cheap."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from kmcl_platform.errors import ConfigError
from kmcl_platform.files.yaml_document import read_yaml, write_yaml


def read(text: str) -> Any:
    return read_yaml(text.encode(), "f.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # YAML 1.1 reads these as another type.
        ("1:30", "1:30"), ("1:30:00", "1:30:00"), ("0:1.5", "0:1.5"), ("0100", 100), ("1_000", "1_000"), ("1_0.5", "1_0.5"),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("No", "No"),
        ("2001-01-01", "2001-01-01"), ("0b11", "0b11"), ("=", "="),
        ("1e-3", 1e-3), ("1E5", 1e5), ("1e3", 1000.0), ("+1.e+2", 100.0),
        # The core schema of YAML 1.2.
        ("true", True), ("True", True), ("FALSE", False), ("tRUE", "tRUE"),
        ("~", None), ("null", None), ("Null", None), ("", None), ("nULL", "nULL"),
        ("7", 7), ("-7", -7), ("+7", 7), ("0o17", 15), ("0x1F", 31), ("-0x1F", "-0x1F"), ("0o9", "0o9"),
        ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("-1.5e-3", -1.5e-3), (".inf", math.inf), ("-.INF", -math.inf), ("+.inf", math.inf),
        ("e5", "e5"), (".e1", ".e1"), ("1e", "1e"), (".", "."), ("'1'", "1"), ("!!str 1", "1"), ("!!float 1", 1.0), ("!!int '1'", 1),
    ],
)  # fmt: skip
def test_a_value_has_the_type_that_it_looks_like(text: str, value: object) -> None:
    found = read(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_not_a_number_is_a_float() -> None:
    assert math.isnan(read("a: .NaN")["a"])


def test_anchors_aliases_and_merge_keys_work() -> None:
    tree = read("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {z: 0, <<: [*a, {w: 4, x: 5}]}\nd: *a\n")
    assert tree["b"] == {"x": 1, "y": 3}
    assert tree["c"] == {"x": 1, "y": 2, "w": 4, "z": 0}
    assert tree["d"] == tree["a"] == {"x": 1, "y": 2}


def test_a_merged_mapping_may_itself_be_merged_before_it_is_used_again() -> None:
    tree = read("a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, x: 3}\nd: {<<: *b}\n")
    assert [tree[name]["x"] for name in "abcd"] == [1, 2, 3, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: {{ name }}", "1: got a mapping or a list as a name; valid: text; a template such as {{ name }} has to"),
        ("a: 1\nb: {c: 1, d: 2,\n  c: 3}", "3: 'c' is given twice, here and in line 2; valid: one of the two"),
        ("1: a\n0x1: b", "2: 1 is given twice, here and in line 1"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n  <<: *a", "4: '<<' is given twice, here and in line 3"),
        ("a:\n\tb: 1", "2: got a tab; valid: spaces"),
        ("a: 1\n\tb: 2", "2: got a tab; valid: spaces"),
        ("a: [1", "1: not YAML: while parsing a flow sequence"),
        ("a: b: c", "1: not YAML: mapping values are not allowed here; valid: YAML, with quotes around text"),
        ("a: @x", "1: not YAML: "),
        ("a: *b", "1: not YAML: found undefined alias 'b'"),
        ("a: {<<: 3}", "1: not YAML: while constructing a mapping: expected a mapping"),
        ("---\na\n---\nb", "3: not YAML: expected a single document"),
        ("a: 1\nb: \x07", "2: got the character U+0007; valid: characters that can be printed"),
        ("a: !!int x", "1: got 'x'; valid: a whole number"),
        ("a: !!bool yes", "1: got 'yes'; valid: true or false"),
        ("a: !!float [1]", "1: got a mapping or a list; valid: a number"),
        ("a: !!python/object/apply:os.getcwd []", "1: got the tag '!!python/object/apply:os.getcwd'; valid: no tag"),
        ("a: !!binary aGVsbG8=", "1: got the tag '!!binary'"),
        ("a: !mine x", "1: got the tag '!mine'"),
        ("a: &a [*a]", "1: got *a within &a itself; valid: an alias that comes after its anchor's value"),
        ("a: " + "[" * 2000, "1: got more than 100 levels of nesting; valid: at most 100"),
        ("a: " + "9" * 5000, "1: got a number of 5,000 digits; valid: at most 1,000"),
        ("a: 0x" + "f" * 5000, "1: got a number of 5,002 digits"),
    ],
)  # fmt: skip
def test_a_document_that_cannot_be_read_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(f"f.yaml:{message}")
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ConfigError, match="f.yaml: got byte 3, not UTF-8; valid: a YAML file, UTF-8 text"):
        read_yaml(b"a: \xe9", "f.yaml")


def test_a_byte_order_mark_is_not_part_of_the_first_name() -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        assert read_yaml("a: é\r\nb: 2\r\n".encode(encoding), "f.yaml") == {"a": "é", "b": 2}


def test_a_few_lines_of_aliases_cannot_stand_for_billions_of_values() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
    ]
    with pytest.raises(ConfigError, match="f.yaml:6: got more than 1,000,000 values, counting each use of an alias; "):
        read("\n".join(lines))


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.from_regex(r"[-+.0-9:_eExobi~<=ynNYtf]{1,6}", fullmatch=True),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(TREES)
@settings(max_examples=200, deadline=None)
def test_a_written_tree_is_read_back(tree: object) -> None:
    assert read_yaml(write_yaml(tree), "f.yaml") == tree


@given(st.text(alphabet="ab:{}[]&*!|>'\"%@#-,?<~\t\n 01e.é\ufeff\x85", max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        read(text)
    except ConfigError as error:
        assert str(error).startswith("f.yaml:")
        assert "; valid: " in str(error)
        assert "\n" not in str(error)


def test_yamls_own_loader_is_not_changed(tmp_path: Path) -> None:
    assert yaml.safe_load("a: no\nb: 1:30") == {"a": False, "b": 90}
