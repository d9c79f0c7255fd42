"""The plug-in and the search file of docs/plugins.md."""

import re
from pathlib import Path

_TEXT = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", _TEXT, flags=re.DOTALL)
    assert found is not None
    return found[1]


PLUGIN = _block("python")
SEARCH = _block("yaml")
