"""The script of a SLURM job, and what is refused before or by sbatch."""

import os
import stat
from pathlib import Path

import pytest

from kmcl_platform.errors import ClusterError, ConfigError
from kmcl_platform.search.slurm.submit import SCRIPT, SlurmJob, check_options, job_script
from tests.support.command_line import kmcl

FILE = """
name: small
plugins: [mine]
base: {num_epochs: 1, optim: {lr: 0.01}}
space:
  optim.lr: {kind: loguniform, low: 1e-3, high: 1e-1}
budget: {trials: 6}
scheduler: {kind: none}
"""

SBATCH = """#!/bin/sh
echo "$@" > "{place}/asked"
cp "$2" "{place}/script"
{answer}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text("VALUE = 3\n")
    (tmp_path / "small.yaml").write_text(FILE)
    return tmp_path / "small.yaml"


def fake_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Put a program of that name before all others in PATH, which keeps what it gets."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "sbatch"
    program.write_text(SBATCH.format(place=tmp_path, answer=answer))
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def submit(file: Path, store: Path, *options: str) -> SlurmJob:
    from kmcl_platform import submit_to_slurm

    return submit_to_slurm(file, store=store, options=options, extend=True)


def test_the_job_has_a_copy_of_the_file_and_its_plug_ins(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_sbatch(tmp_path, monkeypatch, 'echo "41;cluster"')
    job = submit(file, tmp_path / "a store", "--nodes=2", "--gres=gpu:4")
    assert job.job_id == "41"
    folder = job.script.parent
    assert folder.parent == tmp_path / "a store" / "slurm" / "small"
    assert (folder / "search.yaml").read_text() == FILE and (folder / "mine.py").read_text() == "VALUE = 3\n"
    assert (tmp_path / "asked").read_text() == f"--parsable {job.script}\n"
    lines = (tmp_path / "script").read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    assert [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")] == [
        "--job-name=kmcl-small",
        "--ntasks-per-node=1",
        "--requeue",
        "--open-mode=append",
        "--signal=B:USR1@180",
        f'--output="{job.output}"',
        "--nodes=2",
        "--gres=gpu:4",
    ]
    command = lines[-1]
    assert command.startswith("exec ") and str(SCRIPT) in command
    assert command.endswith(f" search '{folder}/search.yaml' --store '{tmp_path}/a store' --extend")
    # The addresses of databases may have passwords.
    assert stat.S_IMODE(job.script.stat().st_mode) == 0o700


def test_the_job_gets_the_addresses_that_are_not_in_the_store(file: Path) -> None:
    address = "postgresql+psycopg://me:se$cret@db:5432/studies"
    text = job_script("small", ["search", file], {"KMCL_STUDY_URL": address}, (), Path("/s/100%/output.log"), 60)
    # The command line of a process can be read by everybody on the node.
    assert f"export KMCL_STUDY_URL='{address}'\n" in text and text.count(address) == 1
    assert address not in text.splitlines()[-1]
    # SLURM would replace a single %.
    assert "#SBATCH --output=/s/100%%/output.log\n" in text and "#SBATCH --signal=B:USR1@60\n" in text


def test_a_job_that_slurm_refuses_leaves_nothing_behind(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_sbatch(tmp_path, monkeypatch, 'echo "sbatch: error: invalid partition: nope" >&2; exit 1')
    with pytest.raises(ClusterError) as caught:
        submit(file, tmp_path / "store", "--partition=nope")
    assert str(caught.value) == (
        "sbatch: got --partition=nope: sbatch: error: invalid partition: nope; valid: options that your cluster allows"
    )
    assert list((tmp_path / "store" / "slurm" / "small").iterdir()) == []


def test_without_slurm_nothing_is_written(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="got no command sbatch on this machine; valid: a login node"):
        submit(file, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("nodes=2", "got 'nodes=2'; valid: one option of sbatch, such as --sbatch=--nodes=2"),
        ("--nodes=2\nrm x", "valid: one option of sbatch"),
        ("", "valid: one option of sbatch"),
        ("--wrap=ls", "valid: another option, because the script is ours"),
        ("--signal=B:TERM@5", "valid: another option, because --stop-seconds sets it"),
        ("--array=1-3", "valid: another option, because one search is one job"),
        ("-J mine", "valid: another option, because it is kmcl-NAME"),
        ("--no-requeue", "valid: another option, because the job continues in a new one"),
    ],
)
def test_options_that_would_break_the_script_are_refused(option: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_options([option])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_usual_options_are_taken() -> None:
    check_options(
        [
            "--nodes=2",
            "-N2",
            "-p gpu",
            "--time 8:00:00",
            "--time=1-00:00:00",
            "--exclusive",
            "--gres=gpu:a100:4",
            "-C=a100",
        ]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "got neither --address nor --slurm; valid: one of them"),
        (("--slurm", "--secret", "TOKEN"), "--secret with --slurm; valid: without it, because a job of SLURM has your"),
        (("--slurm", "--follow"), "--follow with --slurm"),
        (("--address", "http://127.0.0.1:1", "--sbatch=--nodes=2"), "got --sbatch without --slurm; valid: both"),
        (("--slurm", "--stop-seconds", "5"), "5 is not in the range"),
    ],
)
def test_options_that_contradict_each_other_are_refused(file: Path, words: tuple[str, ...], message: str) -> None:
    shown = kmcl("submit", str(file), *words, "--store", str(file.parent / "store"))
    assert shown.exit_code == 2 and message in shown.output, shown.output
    assert not (file.parent / "store").exists()
