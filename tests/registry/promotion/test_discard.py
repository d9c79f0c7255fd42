"""A failed promotion deletes its logged model only if no version of the registry refers to it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image

from kmcl_platform.config.store import open_store
from kmcl_platform.registry.promotion import promote as promotion
from kmcl_platform.registry.promotion.candidate import Candidate
from kmcl_platform.tracking.database import as_default, connect
from tests.registry.promotion.story import promote
from tests.support.command_line import kmcl


def discard(client: MlflowClient, model_id: str) -> None:
    Candidate.discard(SimpleNamespace(client=client), model_id)  # type: ignore[arg-type]


def test_a_model_is_kept_as_long_as_a_version_refers_to_it(prepared_store: Path) -> None:
    client = connect(open_store(prepared_store))
    experiment = client.create_experiment("e", str(prepared_store / "artifacts"))
    used, unused = (client.create_logged_model(experiment, name=name).model_id for name in ("used", "unused"))
    client.create_registered_model("m")
    with as_default(client):
        version = client.create_model_version("m", source=f"models:/{used}", model_id=used)
    for model_id in (used, unused):
        discard(client, model_id)
    assert client.get_logged_model(used).model_id == used
    with pytest.raises(MlflowException, match="not found"):
        client.get_logged_model(unused)
    client.delete_model_version("m", version.version)
    discard(client, used)
    with pytest.raises(MlflowException, match="not found"):
        client.get_logged_model(used)


@pytest.mark.story
@pytest.mark.parametrize("moved", [True, False])
def test_an_interrupted_promotion_takes_no_files_from_a_version(
    moved: bool, story_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = promotion.move
    logged: list[str] = []

    def move_and_stop(*words: Any, **options: Any) -> None:
        if moved:
            move(*words, **options)
        raise KeyboardInterrupt

    def keep_id(candidate: Candidate) -> str:
        logged.append(log(candidate))
        return logged[0]

    log = Candidate.log
    monkeypatch.setattr(Candidate, "log", keep_id)
    monkeypatch.setattr(promotion, "move", move_and_stop)
    stopped = promote(open_store(story_copy), "--force", "interrupted")
    assert stopped.exit_code != 0
    client = connect(open_store(story_copy))
    assert client.get_logged_model(logged[0]).model_id == logged[0]
    assert str(client.get_model_version_by_alias("small", "champion").version) == ("4" if moved else "2")
    # Version 4 exists in both cases, so its files must exist too.
    image = tmp_path / "image.png"
    Image.new("RGB", (40, 40)).save(image)
    answer = kmcl("predict", "models:/small/4", image, store=story_copy)
    assert answer.exit_code == 0, answer.stderr
