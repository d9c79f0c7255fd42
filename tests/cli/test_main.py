"""The command line: its commands, and its errors before anything starts."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kmcl_platform.cli.main import main


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_help_names_every_command() -> None:
    shown = run("--help")
    assert shown.exit_code == 0
    for command in (
        "init", "plan", "search", "resume", "train", "leaderboard", "export-config", "schema", "archive", "replay", "promote",
        "predict", "export", "ui", "submit", "jobs", "logs", "stop", "data",
    ):  # fmt: skip
        assert f"  {command} " in shown.output


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "plain,leaderboard"), ("zsh", "leaderboard"), ("fish", "plain,leaderboard")]
)
def test_a_shell_completes_commands(shell: str, word: str) -> None:
    script = CliRunner().invoke(main, env={"_KMCL_COMPLETE": f"{shell}_source"}, prog_name="kmcl")
    assert script.exit_code == 0 and "_KMCL_COMPLETE" in script.output
    words = {
        "COMP_WORDS": "kmcl le",
        "COMP_CWORD": "le" if shell == "fish" else "1",
        "_KMCL_COMPLETE": f"{shell}_complete",
    }
    completed = CliRunner().invoke(main, env=words, prog_name="kmcl")
    assert word in completed.output


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from kmcl_platform.cli.main import main; main(['--help'], standalone_mode=False); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'mlflow', 'optuna', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stor", "x"], r"kmcl: No such option.*--stor.* \(see \S+ --help\)"),
        (["serch"], r"kmcl: No such command 'serch'.* \(see \S+ --help\)"),
        (["search"], r"kmcl: Missing argument 'FILE' \(see \S+ search --help\)"),
        (["ui", "--port", "0"], r"kmcl: Invalid value for '--port': 0 is not in the range .* \(see \S+ ui --help\)"),
        (["data", "import", "tabel"], r"kmcl: No such command 'tabel'.* \(see \S+ data import --help\)"),
    ],
)
def test_wrong_words_give_one_line(words: list[str], message: str) -> None:
    answer = run(*words)
    assert answer.exit_code == 2
    assert re.fullmatch(message + "\n", answer.stderr)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("low: 1, high: 3", "low: 3, high: 1", "space.model.kernels_per_class"),
        ("loss.temperature: {kind", "loss.temprature: {kind", "loss.temprature"),
        ("low: 0.05, high: 1", "low: 0, high: 1", "loss.temperature"),
        ("trials: 3", "trials: many", "budget.trials: got 'many'"),
        ("name: small", "name: [", ".yaml:4: not YAML: "),
        ("name: small", "name: small\nobjective: {metric: val/mAPP, mode: maximize}", "val/mAPP"),
    ],
)
def test_a_wrong_search_file_gives_one_line(
    old: str, new: str, message: str, small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    file = small_search(tmp_path, small_manifest)
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new))
    answer = run("search", file, "--store", tmp_path / "store")
    assert answer.exit_code == 2
    assert len(answer.stderr.strip().splitlines()) == 1
    assert answer.stderr.startswith(f"kmcl: {file}:")
    assert message in answer.stderr
    assert not (tmp_path / "store").exists()


def test_missing_data_gives_one_line(small_search: Callable[..., Path], tmp_path: Path) -> None:
    file = small_search(tmp_path, tmp_path / "gone.parquet")
    answer = run("search", file, "--store", tmp_path / "store")
    assert answer.exit_code == 2
    assert "gone.parquet" in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("words", [("resume", "digits"), ("leaderboard", "digits"), ("promote", "digits"), ("ui",)])
def test_a_missing_store_is_not_created(words: tuple[str, ...], tmp_path: Path) -> None:
    answer = run(*words, "--store", tmp_path / "store")
    assert answer.exit_code == 2
    assert len(answer.stderr.strip().splitlines()) == 1
    assert str(tmp_path / "store") in answer.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["data", "import", "table", "T.csv", "LONG.parquet"],
        ["data", "import", "voc", "--year", "2007", "LONG", "m.parquet"],
        ["data", "check", "LONG.parquet"],
        ["data", "describe", "LONG.parquet"],
        ["data", "pack", "LONG.parquet", "out"],
        ["predict", "models:/m/1", "a.png", "--out", "LONG.parquet"],
        ["predict", "models:/m/1", "--folder", "LONG", "--out", "o.parquet"],
        ["report", "s", "--out", "LONG.html"],
        ["leaderboard", "s", "--store", "LONG"],
        ["doctor", "--store", "LONG"],
        ["history", "m", "--store", "LONG"],
    ],
)
def test_a_name_that_is_too_long_is_an_error_of_one_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = run(*(word.replace("LONG", "x" * 300) for word in words))
    assert answer.exit_code == 2
    assert (answer.stdout, answer.stderr.count("\n")) == ("", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_word_in_place_of_a_number_is_said_in_plain_words() -> None:
    refused = run("promote", "digits", "--trial", "x")
    assert refused.exit_code == 2
    assert "Invalid value for '--trial': 'x' is not a whole number (see " in refused.output
