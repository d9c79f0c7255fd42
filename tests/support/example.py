"""The plug-ins and the search files of docs/plugins.md."""

import re
from pathlib import Path

_TEXT = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()


def read_example(heading: str, language: str) -> str:
    """The first block of code of a language in a section of the page."""
    found = re.search(rf"\n## {heading}\n(.*?)(\n## |$)", _TEXT, flags=re.DOTALL)
    assert found is not None, heading
    block = re.search(rf"```{language}\n(.*?)```", found[1], flags=re.DOTALL)
    assert block is not None, heading
    return block[1]


PLUGIN, SEARCH = (read_example("A loss", one) for one in ("python", "yaml"))
HEAD_PLUGIN, HEAD_SEARCH = (read_example("A head", one) for one in ("python", "yaml"))
BACKBONE_PLUGIN, BACKBONE_SEARCH = (read_example("A backbone", one) for one in ("python", "yaml"))
AUGMENTATION_PLUGIN, AUGMENTATION_SEARCH = (read_example("An augmentation", one) for one in ("python", "yaml"))
