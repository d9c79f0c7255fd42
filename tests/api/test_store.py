"""The store that a call without options uses, and how results are shown."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.table import Table

from kmcl_platform import KmclError, Store, predict
from kmcl_platform.api.store import as_store
from kmcl_platform.config.store import open_store
from kmcl_platform.shown import Shown


def test_a_store_is_that_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store().root == as_store(None).root == tmp_path / "kmcl_store"
    assert dataclasses.astuple(Store("a")) == dataclasses.astuple(open_store(Path("a")))
    monkeypatch.setenv("KMCL_STORE", "there")
    monkeypatch.setenv("KMCL_TRACKING_URI", "http://server:5000")
    monkeypatch.setenv("KMCL_STUDY_URL", "postgresql://server/studies")
    found = Store()
    assert (found.root, found.tracking_uri, found.study_url) == (
        tmp_path / "there", "http://server:5000", "postgresql://server/studies"
    )  # fmt: skip
    assert dataclasses.replace(found, root=tmp_path).tracking_uri == "http://server:5000"


def test_reading_a_store_that_is_not_there_creates_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert "no searches" in str(store) and "no searches" in store._repr_html_()
    for read in (store.searches, lambda: store.trials("x"), lambda: store.study("x"), lambda: store.champion("x")):
        with pytest.raises(KmclError) as refused:
            read()
        assert "\n" not in str(refused.value)
        # A notebook shows the line of the command line, and no traceback.
        assert refused.value._render_traceback_() == [f"{type(refused.value).__name__}: {refused.value}"]
    assert list(tmp_path.iterdir()) == []


def test_a_result_is_shown_with_whole_lines_and_with_its_tables() -> None:
    class Result(Shown):
        def parts(self) -> list[str | Table]:
            table = Table("name", box=None)
            table.add_row("[bold]of the user[/bold]")
            return ["[1] <b> " + "long " * 60, table]

    text, html = str(Result()), Result()._repr_html_()
    assert text.splitlines()[0].rstrip() == ("[1] <b> " + "long " * 60).rstrip()
    assert len(text.splitlines()) == 3, "no line is broken"
    assert html.startswith("<pre") and "[1] &lt;b&gt; long" in html and "of the user" in html
    # IPython in a terminal.
    printed: list[str] = []
    Result()._repr_pretty_(SimpleNamespace(text=printed.append), False)
    assert printed == [text]


def test_predictions_of_no_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KmclError, match="images: got none; valid: at least one image file"):
        predict("models:/m@champion", [], store=tmp_path)
