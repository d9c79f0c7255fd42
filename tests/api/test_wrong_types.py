"""Arguments of a wrong type are one line, in every function of the Python API."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmcl_platform import (
    Budget,
    KmclError,
    LogUniform,
    SearchFile,
    Store,
    archive,
    import_data,
    init,
    open_search,
    plan,
    predict,
    promote,
    replay,
    rollback,
    search,
    train,
)

FILE = SearchFile(
    name="a",
    base={"optim": {"lr": 5e-3}},
    baselines=[],
    budget=Budget(trials=2),
    space={"optim.lr": LogUniform(low=1e-3, high=1e-2)},
)
NO_FILE = "file: got {}; valid: a SearchFile, or the path of a search file"
CALLS: list[tuple[Callable[[Any], Any], str]] = [
    (search, NO_FILE),
    (train, NO_FILE),
    (plan, NO_FILE),
    (lambda value: train(FILE, values=value) if value is not None else search(value), NO_FILE),
    (lambda value: open_search(value).__enter__(), NO_FILE),
    (lambda value: replay(value, "a.parquet"), NO_FILE),
    (lambda value: replay(FILE, value), "archives: got {}; valid: a path, or a list of paths"),
    (lambda value: replay(FILE, [value]), "archives: got {}; valid: a path, or a list of paths"),
    (lambda value: predict("models:/a/1", value), "images: got {}; valid: a path, or a list of paths"),
    (lambda value: archive(value, "a.parquet"), "searches: got {}; valid: the name of a search, or a list of names"),
    (lambda value: archive("a", value), "to: got {}; valid: a path"),
    (lambda value: import_data("voc", value, "a.parquet"), "root: got {}; valid: a path"),
    (init, "data: got {}; valid: the path of a table, of a manifest or of a folder"),
    (lambda value: promote("a", force=value), "force: got {}; valid: the reason, as text"),
    (lambda value: rollback("a", reason=value), "reason: got {}; valid: the reason, as text"),
    (SearchFile.from_yaml, "path: got {}; valid: the path of a search file"),
    (SearchFile.from_text, "text: got {}; valid: the text of a search file"),
]


@pytest.mark.parametrize("value", [3, None, 1.5])
@pytest.mark.parametrize(("call", "message"), CALLS)
def test_a_wrong_argument(
    call: Callable[[Any], Any], message: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KmclError) as refused:
        call(value)
    assert str(refused.value) == message.format(value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [3, 0, ["a"], b"a", "a\0b"])
def test_a_wrong_store(value: Any) -> None:
    for call in (
        lambda: Store(value),
        lambda: search(FILE, store=value),
        lambda: open_search(FILE, store=value).__enter__(),
    ):
        with pytest.raises(KmclError, match=r"^store: got .*; valid: a Store, or the path of its folder$"):
            call()


def test_values_without_names_and_names_with_line_breaks() -> None:
    with pytest.raises(KmclError, match=r"^LogUniform: got 1 without a name; valid: LogUniform\(low=…, high=…\)$"):
        LogUniform(1, 2)  # type: ignore[call-arg,misc]
    with pytest.raises(KmclError, match=re.escape(r"SearchFile.base.own.'a b\n': got 'a b\n'; valid: ")):
        SearchFile(**FILE.model_dump() | {"base": {"own": {"a b\n": 1}}})
    with pytest.raises(KmclError, match=r"^text: "):
        SearchFile.from_text("name: \udc80")
