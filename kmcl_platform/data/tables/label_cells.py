"""The labels of one cell: joined by a separator, a real list, or a list that was printed as text.

A printed list is what `DataFrame.to_csv` makes of a column of lists (`['a', 'b']`), of JSON (`["a", "b"]`) and of NumPy
arrays (`['a' 'b']`). It is read where its items are quoted or numbers. Anything else that looks like one is refused,
because its text would silently become the name of a class.
"""

import ast
import re
from collections.abc import Collection, Sequence

from kmcl_platform.messages import show_value

MISSING_WORDS = frozenset({"nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nat"})
"""What programs print for a missing value, in lower case."""

_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_SPACE = re.compile(r"[\s,]*")
_QUOTED = re.compile(r"""u?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", re.DOTALL)
_SCALAR = re.compile(r"np\.\w+\(([^()]*)\)")
"""How NumPy 2 prints a value within a list: `np.str_('a')`."""
_CALL = re.compile(r"(?:array|Index|frozenset|set|tuple)\((.*?)(?:,\s*dtype=[^\[\]]*)?\)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d+\.?(?![\w.])")
_GAP = re.compile(r"\s*,\s*|\s+|\s*$")


class LabelError(Exception):
    """A cell's labels cannot be read; its text has the value and what is valid."""


def read_labels(
    cell: object, separator: str, *, no_label: str | None = None, classes: Collection[str] = ()
) -> list[str]:
    """The labels of a cell, without surrounding spaces. An empty cell has none.

    Args:
        cell: text, or a list of labels.
        separator: between joined labels.
        no_label: the word of a cell without labels; an empty cell is valid too.
        classes: names of the classes where they are known: a cell that consists of them is never a printed list.

    Raises:
        LabelError: the cell looks like a printed list that cannot be read, or contains a word for a missing value.

    >>> [read_labels(cell, "|") for cell in ("cat| dog", "['cat', 'dog']", "['cat' 'dog']", ["cat"], "")]
    [['cat', 'dog'], ['cat', 'dog'], ['cat', 'dog'], ['cat'], []]
    """
    if not isinstance(cell, str):
        return _list_labels(cell)
    text = cell.strip()
    labels = [label for label in (part.strip() for part in text.split(separator)) if label]
    # First: a cell of known classes is never a printed list or a missing value, also if a class is called `nan`.
    if text == no_label or all(label in classes for label in labels):
        return labels
    if looks_printed(text):
        return _parse_printed(text)
    missing = next((label for label in labels if label.lower() in MISSING_WORDS - {no_label}), None)
    if missing is not None and missing not in classes and missing != no_label:
        raise LabelError(f"got {show_value(missing)}, a missing value; valid: an empty cell, or --no-label {missing}")
    return labels


def looks_printed(text: str) -> bool:
    """Whether a text is a printed list or a piece of one: a name in round brackets without quotes is not."""
    if text.startswith("[") or (text.endswith("]") and text[:-1].rstrip()[-1:] in ("'", '"')):
        return True
    if text.startswith(("array(", "frozenset(", "set(", "tuple(", "Index(")):
        return True
    return text[:1] in ("(", "{") and (text[1:].lstrip()[:1] in ("'", '"') or text in ("()", "{}"))


def _parse_printed(text: str) -> list[str]:
    refusal = LabelError(
        f"got {show_value(text)}, which looks like a printed list; valid: joined labels such as a|b, a list with "
        "quoted names such as ['a', 'b'], or a Parquet table with a column of lists"
    )
    # First the words around a printed list, such as `array(…, dtype=object)`, then those around each of its values.
    call = _CALL.fullmatch(text)
    text = _SCALAR.sub(r"\1", call[1].strip() if call else text)
    if call and not text:
        return []
    if _BRACKETS.get(text[:1]) != text[-1:] or len(text) < 2:
        raise refusal
    inner, at, labels = text[1:-1], 0, list[str]()
    quoted: set[bool] = set()
    at = _SPACE.match(inner).end()  # type: ignore[union-attr]
    while at < len(inner):
        item = _QUOTED.match(inner, at) or _NUMBER.match(inner, at)
        gap = _GAP.match(inner, item.end()) if item else None
        if not item or not gap:
            raise refusal
        is_quoted = item[0][-1] in "'\""
        # A list of names and numbers together is refused below: it is probably text that only looks like a list.
        quoted.add(is_quoted)
        try:
            # Each literal is read alone: Python joins two that only a space separates, as NumPy prints two names.
            label = (
                str(ast.literal_eval(item[0].replace("\n", " ").replace("\\/", "/")))
                if is_quoted
                else item[0].rstrip(".")
            )
        except (ValueError, SyntaxError):
            raise refusal from None
        labels.append(label.strip())
        at = gap.end()
    if len(quoted) > 1 or not all(labels):
        raise refusal
    return labels


def _list_labels(cell: object) -> list[str]:
    labels: list[str] = []
    for value in cell if isinstance(cell, list | tuple) else [cell]:
        if isinstance(value, str) and value.strip():
            labels.append(value.strip())
        # In Python, True is a number. As a label it would silently become the class `1`.
        elif isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
            labels.append(str(int(value)))
        else:
            raise LabelError(f"got {show_value(value)} in a list; valid: names of classes, or whole numbers")
    return labels


def find_target_vectors(labels_N: Sequence[Sequence[str]], were_lists: Sequence[bool]) -> bool:
    """Whether lists of labels are vectors of targets: all of one length, 2 or more, and only 0, 1 and -1.

    Args:
        labels_N: labels of N cells.
        were_lists: N values; whether the cell was a list.
    """
    lists = [labels for labels, was in zip(labels_N, were_lists, strict=True) if was]
    values = {label for labels in lists for label in labels}
    lengths = {len(labels) for labels in lists}
    return bool(values) and values <= {"0", "1", "-1"} and len(lengths) == 1 and max(lengths) > 1


def find_other_separator(cells: Sequence[str], separator: str) -> str | None:
    """The separator that cells seem to have, if no cell contains the assumed one; None: no other is probable.

    One name may contain a comma, a semicolon or a space. Labels that are joined occur again in other combinations.
    Cells therefore count as joined labels if splitting them gives fewer names than there are different cells.
    """
    different = {cell for cell in cells if cell.strip()}
    if any(separator in cell for cell in different):
        return None
    for other in (",", ";", "|", "\t", "/", " "):
        parts = [[part.strip() for part in cell.split(other) if part.strip()] for cell in different]
        names = {name for cell_parts in parts for name in cell_parts}
        # A space or a slash within one name is common, so the limit is lower for them.
        most = len(different) - (other in "/ ")
        if len(names) <= most and any(len(cell_parts) > 1 for cell_parts in parts):
            return other
    return None
