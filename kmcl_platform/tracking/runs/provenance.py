"""The definition of a search, and the code and packages that it ran with."""

import json
import platform
import subprocess
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.distributions import Distribution
from kmcl_platform.plugins.source import to_documents
from kmcl_platform.tracking.database import write
from kmcl_platform.tracking.runs.artifacts import log_bytes, read_artifact
from kmcl_platform.tracking.runs.names import LATEST_FILE_TAG, PLUGIN_CHANGES_TAG, PLUGINS_TAG, SEARCH_FILE, plugin_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def record_search(client: "MlflowClient", run_id: str, file: SearchFile, content: bytes, origin: str) -> None:
    """Record the definition of a search: the bytes of its file, its settings as params, the environment, the commit."""
    log_bytes(client, run_id, content, SEARCH_FILE)
    record_plugins(client, run_id, file)
    client.log_text(run_id, environment_text(), "environment.txt")
    parts = file.model_dump(include={"objective", "budget", "scheduler", "resources", "sampler"})
    params = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
    params |= {f"space.{path}": _to_text(distribution) for path, distribution in file.space.items()}
    write(client, run_id, params=params, tags={"kmcl.origin": origin, **git_tags(), **file_tags(file)})


def _to_text(distribution: Distribution) -> str:
    words = distribution.model_dump(exclude={"kind"}, exclude_defaults=True)
    return " ".join([distribution.kind, *(f"{name}={value}" for name, value in words.items())])


def record_plugins(client: "MlflowClient", run_id: str, file: SearchFile) -> None:
    """Record the code of a search's plug-ins, and which code is the latest."""
    digests = file.base.plugins
    for one in to_documents(digests):
        log_bytes(client, run_id, one["code"].encode(), plugin_file(one["name"], digests[one["name"]]))
    # After the artifacts, as in `record_continuation`.
    if digests:
        client.set_tag(run_id, PLUGINS_TAG, json.dumps(digests))


def record_continuation(client: "MlflowClient", parent: "Run", file: SearchFile, content: bytes) -> None:
    """Record the file with which a search continues, in addition to its first one, and which of them is the latest."""
    run_id, name = parent.info.run_id, SEARCH_FILE
    former: dict[str, str] = json.loads(parent.data.tags.get(PLUGINS_TAG, "{}"))
    if former != file.base.plugins:
        lines = [
            f"{plugin}: {former[plugin][:12]} until {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, then {digest[:12]}"
            for plugin, digest in file.base.plugins.items()
            if former.get(plugin, digest) != digest
        ]
        if lines:
            earlier = parent.data.tags.get(PLUGIN_CHANGES_TAG, "")
            client.set_tag(run_id, PLUGIN_CHANGES_TAG, "\n".join([*([earlier] if earlier else []), *lines]))
        record_plugins(client, run_id, file)
    if read_artifact(client, run_id, SEARCH_FILE) != content:
        # Named by its content: a file with which the search continues twice is written once.
        name = f"continued_with/{sha256(content).hexdigest()[:12]}.yaml"
        log_bytes(client, run_id, content, name)
    # After the artifact: the tag never names a file that does not exist.
    if parent.data.tags.get(LATEST_FILE_TAG, SEARCH_FILE) != name:
        client.set_tag(run_id, LATEST_FILE_TAG, name)


def environment_text() -> str:
    """Python, platform and every installed distribution as `name==version`, one on each line."""
    # A set: a package that is in two folders of `sys.path` is found twice.
    packages = {f"{found.name}=={found.version}" for found in distributions()}
    lines = [f"# python {platform.python_version()}", f"# {platform.platform()}", *sorted(packages, key=str.lower)]
    return "\n".join(lines) + "\n"


def git_tags() -> dict[str, str]:
    """Commit of the current folder's repository, and whether tracked files differ; empty without a repository."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    # If this call fails, `changes` is None, and the code counts as changed.
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"kmcl.git_commit": commit, "kmcl.git_dirty": str(changes != "").lower()}


def file_tags(file: SearchFile) -> dict[str, str]:
    """The SHA-256 of the base's pretrained weights and own features, since their paths may have other content later.

    A file that the base does not have has no tag.
    """
    paths = {"pretrained": file.base.model.pretrained_file, "features": file.base.data.features}
    tags = {}
    for name, path in paths.items():
        if path is not None:
            with Path(path).expanduser().open("rb") as content:
                tags[f"kmcl.{name}_sha256"] = file_digest(content, "sha256").hexdigest()
    return tags


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(("git", *arguments), capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
