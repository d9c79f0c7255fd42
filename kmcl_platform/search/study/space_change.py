"""A space that changes while its search goes on (`kmcl search --extend`)."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from kmcl_platform.config.reports.trial_marks import SPACE_CHANGES
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.distributions import Choice, Distribution, Int, LogUniform
from kmcl_platform.search.sampling.search_study import SearchStudy

SPACE = "space."

_FIELD = re.compile(r"space\.(.+?)\.(kind|low|high|log|zero|choices|when\..+)")
"""A line of a definition: the path, and a field of its distribution."""

_adapter: TypeAdapter[Distribution] = TypeAdapter(Distribution)


def find_problem(before: Mapping[str, str], file: SearchFile) -> str | None:
    """Why the trials of a search cannot be points of the file's space, in words; None: they can.

    Ranges may become wider or narrower, and there may be new paths: former trials have the base's values there.

    Args:
        before: the definition that the search was begun with, under dotted paths, as JSON.
        file: the search as it shall go on.
    """
    former = former_space(before)
    for path, old in former.items():
        new = file.space.get(path)
        if new is None:
            return f"space.{path}: got nothing, but former trials have other values than the base there; valid: keep it"
        if old.kind != new.kind:
            return f"space.{path}.kind: got {new.kind}; valid: {old.kind}, as before"
        if old.when != new.when:
            return f"space.{path}.when: got {new.when}; valid: {old.when}, as before"
        # Optuna refuses another list of choices, or another scale, for a parameter that a study has.
        if isinstance(old, Choice) and isinstance(new, Choice) and old.choices != new.choices:
            return f"space.{path}.choices: got {list(new.choices)}; valid: {list(old.choices)}, as before"
        for name, kind in (("log", Int), ("zero", LogUniform)):
            if isinstance(old, kind) and getattr(old, name) != getattr(new, name):
                return f"space.{path}.{name}: got {_yaml(getattr(new, name))}; valid: {_yaml(getattr(old, name))}"
    return None


def former_space(definition: Mapping[str, str]) -> dict[str, Distribution]:
    """The space of a definition."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for line, text in definition.items():
        if match := _FIELD.fullmatch(line):
            path, name = match.groups()
            if name.startswith("when."):
                found[path].setdefault("when", {})[name.removeprefix("when.")] = json.loads(text)
            else:
                found[path][name] = json.loads(text)
    # The check of the definition adds lines of the file's own paths that former versions did not have.
    return {path: _adapter.validate_python(fields) for path, fields in found.items() if "kind" in fields}


def note_change(study: SearchStudy, before: Mapping[str, str], now: Mapping[str, str], trials: int) -> None:
    """Keep what the space was, for the first `trials` trials. A repeated call changes nothing."""
    changed = {
        line.removeprefix(SPACE): [before.get(line), now.get(line)]
        for line in sorted(before.keys() | now.keys())
        if line.startswith(SPACE) and before.get(line) != now.get(line)
    }
    history = study.user_attrs.get(SPACE_CHANGES, [])
    if changed and not (history and history[-1] == {"trials": trials, "changed": changed}):
        study.set_user_attr(SPACE_CHANGES, [*history, {"trials": trials, "changed": changed}])


def _yaml(value: bool) -> str:
    return str(value).lower()
