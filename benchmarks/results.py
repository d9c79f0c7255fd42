"""The results of a benchmark that continues where it was stopped: a file with one line of JSON for each."""

import json
from pathlib import Path
from typing import Any

Result = dict[str, Any]


def read_results(path: Path) -> list[Result]:
    """The results so far. A line that a kill cut off is removed, so that the next one is not joined with it."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def append_result(path: Path, result: Result) -> None:
    """Write one more result."""
    with path.open("a") as file:
        file.write(json.dumps(result) + "\n")
