"""A file or folder is complete or does not exist, also if the process that writes it is killed."""

import errno
import os
import signal
from pathlib import Path

import pytest

from kmcl_platform.files.atomic_write import DRAFT_PREFIX, atomic_file, atomic_folder, make_folder, write_atomically


def killed_while_writing(path: Path, *, folder: bool) -> None:
    """Write half of a file or folder in a child process, which then kills itself."""
    child = os.fork()
    if child == 0:
        with atomic_folder(path) if folder else atomic_file(path) as draft:
            (draft / "half" if folder else draft).write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_the_old_file_stays_after_a_killed_write(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    killed_while_writing(path, folder=False)
    assert path.read_text() == "old"
    # The unfinished file has a hidden name. It does not disturb the next write.
    assert [file.name.startswith(DRAFT_PREFIX) for file in tmp_path.iterdir() if file != path] == [True]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_after_a_killed_write_there_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "made" / "folder"
    killed_while_writing(path, folder=True)
    assert not path.exists()
    with atomic_folder(path) as draft:
        (draft / "sub").mkdir()
        (draft / "sub" / "a").write_text("1")
    assert (path / "sub" / "a").read_text() == "1"


def watch_disk(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The calls that wait for the disk or rename, in their order: ("fsync" or "rename", name of the file or folder)."""
    calls: list[tuple[str, str]] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def watch_fsync(descriptor: int) -> None:
        calls.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def watch_rename(source: Path, target: Path) -> None:
        calls.append(("rename", Path(source).name))
        (rename if Path(source).is_dir() else replace)(source, target)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, watch_rename)
    return calls


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = watch_disk(monkeypatch)
    with atomic_file(tmp_path / "a") as draft:
        draft.write_text("1")
    assert calls == [("fsync", draft.name), ("rename", draft.name), ("fsync", tmp_path.name)]


def test_everything_in_a_folder_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = watch_disk(monkeypatch)
    with atomic_folder(tmp_path / "a") as draft:
        (draft / "sub").mkdir()
        (draft / "sub" / "file").write_text("1")
    synced, rest = calls[:3], calls[3:]
    assert {*synced} == {("fsync", "file"), ("fsync", "sub"), ("fsync", draft.name)}
    assert rest == [("rename", draft.name), ("fsync", tmp_path.name)]


def test_a_block_that_raises_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, "old")
    with pytest.raises(RuntimeError), atomic_file(path) as draft:
        draft.write_text("new")
        raise RuntimeError
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "b") as draft:
        (draft / "c").write_text("new")
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_another_process_has_written_meanwhile_stays(
    hard_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    if not hard_links:
        # As on a FAT file system, which a test cannot mount.
        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refuse)
    with atomic_file(path, replace=False) as draft:
        draft.write_text("first")
    with pytest.raises(FileExistsError), atomic_file(path, replace=False) as draft:
        draft.write_text("second")
    assert path.read_text() == "first"
    path.unlink()
    with pytest.raises(FileExistsError), atomic_file(path, replace=False) as draft:
        draft.write_text("own")
        path.write_text("other")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert path.read_text() == "other"


def test_a_full_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").touch()
    with pytest.raises(OSError), atomic_folder(tmp_path / "b") as draft:
        (draft / "new").touch()
    assert [file.name for file in tmp_path.rglob("*")] == ["b", "old"]


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file" / "folder")
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
