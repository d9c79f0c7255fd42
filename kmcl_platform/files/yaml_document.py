"""YAML files, read by the core schema of YAML 1.2.

PyYAML reads YAML 1.1, in which `no` is False, `1:30` is 90, `0100` is 64 and `1e-3` is text. Here a value has the type
that it looks like: https://yaml.org/spec/1.2.2/#103-core-schema. Anchors, aliases and the merge key `<<` work as in
PyYAML.
"""

import re
from collections.abc import Callable, Hashable
from typing import Any, ClassVar, NoReturn

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kmcl_platform.errors import ConfigError
from kmcl_platform.messages import show_value

MAX_DEPTH = 100
MAX_VALUES = 1_000_000
"""Values of a document. Those of an alias count at each use: a few lines of aliases can stand for billions."""
MAX_DIGITS = 1000
"""Digits of a whole number. Python does not print numbers of more than 4,300 digits."""

_PREFIX = "tag:yaml.org,2002:"
_NULL = re.compile(r"(?:~|null|Null|NULL|)")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)")
_INT = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)")
_FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)
_MERGE = re.compile(r"<<")

# The order matters: `10` is a whole number, not a float. The third value lists the possible first characters.
_RESOLVERS: tuple[tuple[str, re.Pattern[str], list[str]], ...] = (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOL, list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", _MERGE, ["<"]),
)


def read_yaml(content: bytes, origin: str) -> Any:
    """Read one YAML document.

    Args:
        content: the file's bytes: UTF-8, or UTF-16 with a byte-order mark.
        origin: the file's name, for messages.

    Returns:
        Dictionaries (every key is given once), lists, text, int, float, bool and None. An empty document is None.

    Raises:
        ConfigError: the content is not such a document. The message is one line and begins with `ORIGIN:LINE: `.
    """
    try:
        loader = _Loader(_decode(content))
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{origin}: got byte {error.start}, not UTF-8; valid: a YAML file, UTF-8 text") from None
    except yaml.reader.ReaderError as error:
        line = _decode(content)[: error.position].count("\n") + 1
        raise ConfigError(
            f"{origin}:{line}: got the character U+{error.character:04X}; valid: characters that can be printed"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{origin}:{mark.line + 1}" if mark else origin
        raise ConfigError(f"{where}: {_explain(error)}") from None


def write_yaml(tree: Any) -> bytes:
    """Write dictionaries, lists, text, int, float, bool and None as YAML; `read_yaml` gives the same tree back."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True).encode()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the resolvers and constructors of YAML 1.2's core schema."""

    # Both tables begin empty, without those of YAML 1.1: dates, `!!binary`, `!!set`, numbers in base 60.
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012
    yaml_constructors: ClassVar[dict[str | None, Callable[..., Any]]] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._open: set[Any] = set()
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Compose a node; refuse a tree that is too deep or too large."""
        # PyYAML itself allows a list within itself, and ends in a RecursionError on a deep tree.
        event = self.peek_event()
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent) and anchor in self._open:
            _refuse(f"got *{anchor} within &{anchor} itself", "an alias that comes after its anchor's value", event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            _refuse(f"got more than {MAX_DEPTH} levels of nesting", f"at most {MAX_DEPTH}", event)
        is_new = anchor is not None and not isinstance(event, yaml.AliasEvent)
        if is_new:
            self._open.add(anchor)
        node = super().compose_node(parent, index)
        if is_new:
            self._open.discard(anchor)
        # Not in `finally`: after an error the document is not read on.
        self._depth -= 1
        # An alias is the same node object as the value of its anchor. Each use counts with the size stored here.
        if node is not None and id(node) not in self._sizes:
            self._sizes[id(node)] = size = 1 + sum(self._sizes[id(child)] for child in _children(node))
            if size > MAX_VALUES:
                _refuse(
                    f"got more than {MAX_VALUES:,} values, counting each use of an alias",
                    f"at most {MAX_VALUES:,}",
                    event,
                )
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        """Compose a mapping and check its keys. Later, the merge key copies other keys into it."""
        node: MappingNode = super().compose_mapping_node(anchor)
        lines: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, ScalarNode):
                _refuse(
                    "got a mapping or a list as a name",
                    "text; a template such as {{ name }} has to be filled in first",
                    key_node,
                )
            # As text, because the constructor would not know the tag of the merge key.
            key = "<<" if key_node.tag == f"{_PREFIX}merge" else self.construct_object(key_node)
            line = key_node.start_mark.line + 1
            if key in lines:
                _refuse(f"{show_value(key)} is given twice, here and in line {lines[key]}", "one of the two", key_node)
            lines[key] = line
        return node


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper. It quotes every text that YAML 1.1 or 1.2 would read as another type."""


def _construct_null(_: _Loader, node: Node) -> None:
    _text(node, _NULL, "null or ~")


def _construct_bool(_: _Loader, node: Node) -> bool:
    return _text(node, _BOOL, "true or false").lower() == "true"


def _construct_int(_: _Loader, node: Node) -> int:
    text = _text(node, _INT, "a whole number")
    if len(text) > MAX_DIGITS:
        _refuse(f"got a number of {len(text):,} digits", f"at most {MAX_DIGITS:,}", node)
    # Without a prefix the base is 10: `0100` is 100, unlike in YAML 1.1.
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text if base == 10 else text[2:], base)


def _construct_float(_: _Loader, node: Node) -> float:
    text = _text(node, _FLOAT, "a number").lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _construct_unknown(_: _Loader, node: Node) -> NoReturn:
    tag = (node.tag or "").replace(_PREFIX, "!!")
    _refuse(f"got the tag {show_value(tag)}", "no tag, or !!null, !!bool, !!int, !!float, !!str, !!seq, !!map", node)


def _text(node: Node, pattern: re.Pattern[str], valid: str) -> str:
    """The text of a node whose tag may have been written by hand, as in `!!int x`."""
    if not isinstance(node, ScalarNode):
        _refuse("got a mapping or a list", valid, node)
    text: str = node.value
    if not pattern.fullmatch(text):
        _refuse(f"got {show_value(text)}", valid, node)
    return text


def _represent_text(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    # PyYAML writes these line breaks of Unicode unchanged, but reads them as a space. Double quotes escape them.
    style = '"' if any(letter in text for letter in "\x85\u2028\u2029\r") else None
    return dumper.represent_scalar(f"{_PREFIX}str", text, style=style)


_Dumper.add_representer(str, _represent_text)
for _name, _pattern, _first in _RESOLVERS:
    # PyYAML uses `match`, which does not check the end of the text.
    _whole = re.compile(rf"{_pattern.pattern}\Z")
    _Loader.add_implicit_resolver(_PREFIX + _name, _whole, _first)
    _Dumper.add_implicit_resolver(_PREFIX + _name, _whole, _first)
for _name, _construct in (
    ("null", _construct_null),
    ("bool", _construct_bool),
    ("int", _construct_int),
    ("float", _construct_float),
    ("str", yaml.SafeLoader.construct_yaml_str),
    ("seq", yaml.SafeLoader.construct_yaml_seq),
    ("map", yaml.SafeLoader.construct_yaml_map),
):
    _Loader.add_constructor(_PREFIX + _name, _construct)
_Loader.add_constructor(None, _construct_unknown)


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, SequenceNode) else []


def _refuse(got: str, valid: str, place: Any) -> NoReturn:
    raise ConstructorError(None, None, f"{got}; valid: {valid}", place.start_mark)


def _explain(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read"
    # These are the errors of `_refuse`. Their text is a whole message already.
    if isinstance(error, ConstructorError) and "; valid: " in problem:
        return problem
    if r"'\t'" in problem:
        return "got a tab; valid: spaces to indent and to separate"
    context = f"{error.context}: " if error.context else ""
    return f"not YAML: {context}{problem}; valid: YAML, with quotes around text that holds any of : # @ % & * [ {{"


def _decode(content: bytes) -> str:
    """The text of a file. A byte-order mark at its start shows its encoding."""
    # "utf-8-sig" reads UTF-8 with and without the mark.
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    return content.decode(encoding)
