"""Texts are for readers to whom English is a second language: some turns of phrase are known to stop them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

INSTEAD = {
    r"\bhangs? on\b": "depends on",
    r"\bheld against\b": "compared with",
    r"\banew\b": "again",
    r"\bnobody does\b": "not measured, not done",
    r"\bno value that passes\b": "NaN fails the gate",
    r"valid: one(?! \w)": "what is valid, so that the reader can act on it",
}


def test_no_text_has_a_phrase_that_stops_a_reader() -> None:
    files = [ROOT / "README.md", ROOT / "Makefile"]
    for folder, pattern in (
        ("docs", "*.md"), ("kmcl_platform", "*.py"), ("jobs", "*.py"), ("tests", "*.py"), ("benchmarks", "*.py"),
        ("search_spaces", "*.yaml"), ("deploy", "*"),
    ):  # fmt: skip
        files += [path for path in (ROOT / folder).rglob(pattern) if path.is_file() and path != Path(__file__)]
    assert len(files) > 100
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group()!r}; valid: {instead}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for phrase, instead in INSTEAD.items()
        if (match := re.search(phrase, line, re.IGNORECASE))
    ]
    assert not found, "\n".join(found)
