"""The command that made a manifest, kept in its file so that a check can say how to make it again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

METADATA_KEY = b"kmcl"
IMPORT_KEY = "import"


@dataclass(frozen=True)
class ImportCommand:
    """A call of `kmcl data import`."""

    kind: str
    """The reader, such as `table`."""
    root: str
    """Absolute path of what was read."""
    options: tuple[str, ...]
    """Other options that were given, as words; not those for copies, and not `--overwrite`."""
    plugin: str = ""
    """Absolute path of the file with the reader; empty: the platform has it."""

    def words(self, out: str | Path, *, duplicates: Sequence[str]) -> list[str]:
        """The command that imports again, with other options for copies of pictures, and replaces `out`."""
        plugin = ["--plugin", self.plugin] if self.plugin else []
        start = ["kmcl", "data", "import", *plugin, self.kind, *self.options]
        # After `--`, a path that begins with a hyphen is not read as an option.
        hyphen = ["--"] if self.root.startswith("-") or str(out).startswith("-") else []
        return [*start, *duplicates, "--overwrite", *hyphen, self.root, str(out)]


def import_facts(command: ImportCommand) -> dict[str, Any]:
    """The command as JSON, for a manifest's metadata."""
    return {IMPORT_KEY: asdict(command)}


def read_import_command(schema: pa.Schema) -> ImportCommand | None:
    """The command in a manifest's metadata. None: not made by `kmcl data import`, or by an old version of it."""
    try:
        # Every fault of these facts means "not known": they are only a help for a check, and no reason to refuse a
        # manifest.
        facts = json.loads((schema.metadata or {}).get(METADATA_KEY, b"{}"))
    except ValueError:
        return None
    entry = facts.get(IMPORT_KEY) if isinstance(facts, Mapping) else None
    if not isinstance(entry, Mapping):
        return None
    kind, root, options = entry.get("kind"), entry.get("root"), entry.get("options")
    if not isinstance(kind, str) or not isinstance(root, str) or not isinstance(options, list):
        return None
    return ImportCommand(kind, root, tuple(map(str, options)), str(entry.get("plugin", "")))
