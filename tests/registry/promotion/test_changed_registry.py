"""A registry that was changed by hand or by other tools: every command gives its result, or an error of one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image

from kmcl_platform.config.store import open_store
from kmcl_platform.registry.model.versions import RUN_TAG, find_alias
from kmcl_platform.tracking.database import connect
from tests.registry.promotion.story import promote
from tests.support.command_line import Answer, kmcl

pytestmark = [pytest.mark.story, pytest.mark.takes(50)]

COMMANDS = ("promote", "rollback", "history", "predict", "export", "ui")


def register_elsewhere(store: Path, client: MlflowClient) -> None:
    """Register a version and give it the alias, as another tool may do."""
    (store / "elsewhere").mkdir()
    (store / "elsewhere" / "MLmodel").write_text("flavors: {}\n")
    version = client.create_model_version("small", str(store / "elsewhere"))
    client.set_registered_model_alias("small", "champion", version.version)


def champion_run(client: MlflowClient) -> str:
    return str(client.get_model_version_by_alias("small", "champion").tags[RUN_TAG])


def delete_run(store: Path, client: MlflowClient) -> None:
    client.delete_run(champion_run(client))


def collect_garbage(store: Path, client: MlflowClient) -> None:
    from mlflow.cli import gc

    run = champion_run(client)
    client.delete_run(run)
    address = f"sqlite:///{store}/mlflow.db"
    done = CliRunner().invoke(gc, ["--backend-store-uri", address, "--tracking-uri", address, "--run-ids", run])
    assert done.exit_code == 0, done.output
    with pytest.raises(MlflowException, match="not found"):
        client.get_run(run)


def delete_previous(store: Path, client: MlflowClient) -> None:
    client.delete_model_version("small", "3")


def remove_files(store: Path, client: MlflowClient) -> None:
    source = client.get_model_version_by_alias("small", "champion").source
    (folder,) = (store / "artifacts").rglob(source.removeprefix("models:/"))
    shutil.rmtree(folder)


def delete_logged_model(store: Path, client: MlflowClient) -> None:
    source = client.get_model_version_by_alias("small", "champion").source
    client.delete_logged_model(source.removeprefix("models:/"))


def delete_files_of_previous(store: Path, client: MlflowClient) -> None:
    source = client.get_model_version_by_alias("small", "previous").source
    client.delete_logged_model(source.removeprefix("models:/"))


def remove_alias(store: Path, client: MlflowClient) -> None:
    client.delete_registered_model_alias("small", "champion")


def delete_experiment(store: Path, client: MlflowClient) -> None:
    client.delete_experiment(client.get_experiment_by_name("small").experiment_id)


def delete_search_run(store: Path, client: MlflowClient) -> None:
    experiment = client.get_experiment_by_name("small").experiment_id
    (run,) = client.search_runs([experiment], "tags.`kmcl.role` = 'search'")
    client.delete_run(run.info.run_id)


def change_history(store: Path, client: MlflowClient) -> None:
    client.set_registered_model_tag("small", "kmcl.move.2020-01-01T00:00:00.000Z", "by hand")


def delete_model(store: Path, client: MlflowClient) -> None:
    client.delete_registered_model("small")


DELETED_RUN = "its champion, version 2, was trained by run"
NO_FILES = "version 2: its files cannot be fetched"
NO_SEARCH = "no search 'small'; valid: "
NO_MODEL = "'models:/small@champion', which is not in the registry; valid: a version or alias of "
CASES: dict[Callable[[Path, MlflowClient], None], dict[str, str]] = {
    register_elsewhere: {
        "promote": "version 4, has no tag kmcl.run, so it was not registered by `kmcl promote`; valid: `kmcl rollback",
        "predict": "got a folder that is not a model of this platform",
        "export": "got a folder that is not a model of this platform",
    },
    delete_run: {"promote": DELETED_RUN},
    collect_garbage: {"promote": DELETED_RUN},
    delete_previous: {"rollback": "version 3, the champion before version 2, was deleted; valid: "},
    remove_files: {"promote": NO_FILES, "predict": NO_FILES, "export": NO_FILES},
    delete_logged_model: {"promote": NO_FILES, "predict": NO_FILES, "export": NO_FILES},
    delete_files_of_previous: {"rollback": "version 3: its files cannot be fetched"},
    remove_alias: {
        "rollback": "no version has the alias `champion`; valid: `kmcl promote small` first",
        "predict": NO_MODEL + "small",
        "export": NO_MODEL + "small",
    },
    delete_experiment: {"promote": NO_SEARCH},
    delete_search_run: {"promote": NO_SEARCH},
    change_history: {"rollback": "got 'by hand'; valid: the record", "history": "got 'by hand'; valid: the record"},
    delete_model: {
        "rollback": "got 'small', which is not in the registry; valid: a model that",
        "history": "got 'small', which is not in the registry; valid: a model that",
        "predict": NO_MODEL,
        "export": NO_MODEL,
    },
}


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str | Path]]:
    """The words of each command. The slow work that follows a command's checks is replaced by `stop`."""
    image = tmp_path / "image.png"
    Image.new("RGB", (40, 40)).save(image)
    monkeypatch.setattr("kmcl_platform.registry.promotion.promote.choose_members", stop)
    monkeypatch.setattr("kmcl_platform.registry.package.onnx_export.export_onnx", stop)
    monkeypatch.setattr("kmcl_platform.tracking.ui_server.start_server", stop)
    return {
        "promote": ["promote", "small"],
        "history": ["history", "small"],
        "predict": ["predict", "models:/small@champion", image],
        "export": ["export", "models:/small@champion", tmp_path / "out.onnx"],
        "ui": ["ui", "--port", "5999"],
        "rollback": ["rollback", "small"],
    }


class Stopped(Exception):
    """All checks of a command have passed."""


def stop(*args: object, **options: object) -> None:
    raise Stopped


def run(words: list[str | Path], store: Path) -> Answer:
    try:
        return kmcl(*words, store=store)
    except Stopped:
        return Answer(0, "", "")


@pytest.mark.parametrize("change", CASES, ids=lambda change: change.__name__)
def test_every_command_gives_its_result_or_one_line(
    change: Callable[[Path, MlflowClient], None], story_copy: Path, words: dict[str, list[str | Path]]
) -> None:
    client = connect(open_store(story_copy))
    change(story_copy, client)
    before = read_registry(client)
    for name, command in words.items():
        answer = run(command, story_copy)
        expected = CASES[change].get(name)
        if expected is None:
            assert answer.exit_code == 0, (name, answer)
        else:
            assert answer.exit_code == 2, (name, answer)
            assert expected in answer.stderr, (name, answer.stderr)
            assert answer.stderr.startswith("kmcl: ") and len(answer.stderr.splitlines()) == 1
            # The rollback is the last command, so no command before it has moved anything.
            assert read_registry(client) == before


def read_registry(client: MlflowClient) -> tuple[object, ...]:
    models = {model.name: dict(model.tags) for model in client.search_registered_models()}
    aliases = [find_alias(client, "small", alias) for alias in ("champion", "previous")]
    return models, [one and one.version for one in aliases]


@pytest.mark.parametrize("change", [register_elsewhere, collect_garbage, remove_alias], ids=lambda one: one.__name__)
def test_an_unusable_champion_can_be_replaced_by_force(
    change: Callable[[Path, MlflowClient], None], story_copy: Path
) -> None:
    client = connect(open_store(story_copy))
    change(story_copy, client)
    champion = find_alias(client, "small", "champion")
    answer = promote(open_store(story_copy), "--force", "the other one is gone")
    assert answer.exit_code == 0, answer.output
    last = json.loads(kmcl("history", "small", "--json", store=story_copy).stdout)[-1]
    if champion is None:
        # Without a champion there is no comparison, and so nothing to force.
        assert "mAP against the champion" not in answer.output
        assert (last["kind"], last["before"]) == ("promote", "")
    else:
        assert "gate FAILED: mAP against the champion not compared: model 'small': its champion, " in answer.output
        assert (last["kind"], last["before"]) == ("force", str(champion.version))
        assert last["reason"].endswith(": the other one is gone")
    assert find_alias(client, "small", "champion").version == int(last["after"])


def test_a_rollback_finds_the_former_champion_without_its_alias(story_copy: Path) -> None:
    client = connect(open_store(story_copy))
    client.delete_registered_model_alias("small", "previous")
    answer = kmcl("rollback", "small", store=story_copy)
    assert answer.stdout == "model small: version 3 is the champion again, version 2 is `previous`\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["history", ""], "model: got '', which is not in the registry; valid: small"),
        (["history", "a/b"], "model: got 'a/b', which is not in the registry; valid: small"),
        (["rollback", "a:b"], "model: got 'a:b', which is not in the registry; valid: small"),
        (["predict", "small/99999999999999999999", "image.png"], "valid: models:/NAME@ALIAS or models:/NAME/VERSION"),
        (["predict", "small@a b", "image.png"], "'small@a b', which is not in the registry; valid: a version or alias"),
        (["predict", "x" * 5000, "image.png"], "(5,002 characters); valid: models:/NAME@ALIAS"),
    ],
)
def test_an_odd_name_is_refused_in_one_line(words: list[str], message: str, story: object, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "image.png")
    given = [str(tmp_path / word) if word == "image.png" else word for word in words]
    answer = kmcl(*given, store=story.store.root)  # type: ignore[attr-defined]
    assert answer.exit_code == 2
    assert message in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
