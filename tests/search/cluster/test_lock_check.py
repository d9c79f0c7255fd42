"""An environment compared with a lock file."""

from importlib import metadata
from pathlib import Path

import pytest

from kmcl_platform.errors import ClusterError
from kmcl_platform.search.cluster.lock_check import check_environment, compare_environment

CLICK = metadata.version("click")
TORCH = metadata.version("torch").partition("+")[0]


def write(folder: Path, lock: str) -> Path:
    (folder / "requirements.lock").write_text(lock)
    (folder / "pyproject.toml").write_text('[project]\ndependencies = ["click>=8", "Not_Here[extra]>=1"]\n')
    return folder


@pytest.mark.locked
def test_the_locked_environment_is_this_one() -> None:
    """The tests run in the environment that `make` installed from the lock file."""
    assert compare_environment(Path()) == []


@pytest.mark.parametrize(
    ("lock", "differences"),
    [
        (f"click=={CLICK} \\\n    --hash=sha256:0\n", []),
        ("click==0.1 ; sys_platform == 'linux' \\\n", [f"click {CLICK} (locked: 0.1)"]),
        (f"click==0.1 ; python_version < '3'\nclick=={CLICK} ; python_version >= '3'\n", []),
        (f"torch=={TORCH}\n", []),
        ("not-here==2.0\n", ["not-here is not installed (locked: 2.0)"]),
        ("of-another-platform==2.0\n", []),
    ],
)
def test_each_difference_is_named(tmp_path: Path, lock: str, differences: list[str]) -> None:
    assert compare_environment(write(tmp_path, lock)) == differences


def test_another_environment_is_refused_in_one_line(tmp_path: Path) -> None:
    write(tmp_path, "click==0.1\nnot-here==2.0\nrich==0.1\nnumpy==0.1\npandas==0.1\n")
    with pytest.raises(ClusterError) as refusal:
        check_environment(tmp_path)
    text = str(refusal.value)
    assert text.startswith(f"environment: got click {CLICK} (locked: 0.1), not-here is not installed (locked: 2.0), ")
    assert " and 2 more; valid: requirements.lock installed on every node" in text
    assert "\n" not in text


def test_a_folder_without_a_lock_file_is_accepted(tmp_path: Path) -> None:
    check_environment(tmp_path)
