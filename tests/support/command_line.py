"""Calls of the command line: in this process, or in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from kmcl_platform.cli.main import main

COLUMNS = "200"
"""Width of the terminal that commands see, so that tables and messages are not wrapped."""

Word = str | int | Path


@dataclass(frozen=True)
class Answer:
    """The result of a command.

    Attributes:
        exit_code: 0 after success, 2 after a mistake of the user.
        stdout: the text on standard output.
        stderr: the text on standard error.
    """

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """All text, for the message of a failed assertion."""
        return self.stdout + self.stderr


def kmcl(*words: Word, store: Path | None = None, environment: Mapping[str, str | None] | None = None) -> Answer:
    """Run `kmcl WORDS` in this process. This saves the seconds in which a new process imports torch.

    Use `kmcl_process` for a command that starts Ray: Ray reads its settings once for each process.

    Args:
        words: the command and its options.
        store: adds `--store`. None: the words name it, or the command has no such option.
        environment: variables to set, or with None as value to remove, while the command runs.

    Raises:
        Exception: every error of the command that is not a user's mistake.
    """
    runner = CliRunner(env={"COLUMNS": COLUMNS, **(environment or {})})
    result = runner.invoke(main, _words(words, store), catch_exceptions=False, prog_name="kmcl")
    return Answer(result.exit_code, result.stdout, result.stderr)


def kmcl_process(
    *words: Word,
    store: Path | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    seconds: float = 500,
) -> Answer:
    """Run `kmcl WORDS` in a process of its own.

    Args:
        words: the command and its options.
        store: adds `--store`. None: the words name it, or the command has no such option.
        environment: all variables of the process. None: those of this process.
        folder: the working directory. None: that of this process.
        seconds: the longest time that the command may take.
    """
    done = subprocess.run(
        kmcl_command(*words, store=store),
        env=None if environment is None else {**environment, "COLUMNS": COLUMNS},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def start_kmcl(
    *words: Word, log: Path, store: Path | None = None, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start `kmcl WORDS` and return at once; standard output and error go to the file `log`.

    The process leads a process group of its own: a signal can be sent to all processes of the command, as a terminal
    does, and to no others.
    """
    with log.open("w") as output:
        return subprocess.Popen(
            kmcl_command(*words, store=store),
            env=os.environ | dict(environment or {}),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kmcl_command(*words: Word, store: Path | None = None) -> list[str]:
    """The command line that runs `kmcl WORDS` with this Python."""
    return [sys.executable, "-m", "kmcl_platform.cli", *_words(words, store)]


def _words(words: tuple[Word, ...], store: Path | None) -> list[str]:
    return [*map(str, words), *(("--store", str(store)) if store else ())]
