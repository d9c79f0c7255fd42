"""Before Ray starts: a wrong address gives one line; an unusable TMPDIR or HOME is replaced."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kmcl_platform.errors import ClusterError
from kmcl_platform.search.cluster.ray_session import cluster_address, start_ray


def test_addresses_of_other_servers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster_address(None) is None
    assert cluster_address("auto") == "auto"
    assert cluster_address("10.0.0.7:6379") == "10.0.0.7:6379"
    with pytest.raises(ClusterError, match=r"^--address: got 'http://head:8265'; valid: auto, or HOST:PORT"):
        cluster_address("http://head:8265")
    monkeypatch.setenv("RAY_ADDRESS", "http://user:s3cret@head:8265")
    with pytest.raises(ClusterError, match=r"^RAY_ADDRESS: got 'http://user:\*\*\*@head:8265'; valid: auto"):
        cluster_address(None)
    assert cluster_address("auto") == "auto"


@pytest.mark.parametrize("name", ["x" * 100, "tmp-é", "missing"])
def test_a_temporary_folder_that_rays_sockets_cannot_use_is_replaced(name: str) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp")) / name
    if name != "missing":
        folder.mkdir()
    program = (
        "import os, tempfile; from kmcl_platform.search.cluster.ray_session import _use_short_temporary_folder as use;"
        "use(); print(os.environ['TMPDIR'], tempfile.gettempdir())"
    )
    environment = os.environ | {"TMPDIR": str(folder)}
    if name == "missing":  # Python itself uses /tmp then, so nothing must be replaced.
        program = program.replace("os.environ['TMPDIR']", "tempfile.gettempdir()")
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["/tmp", "/tmp"]


def test_a_usable_temporary_folder_is_not_replaced() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        program = (
            "import os; from kmcl_platform.search.cluster.ray_session import _use_short_temporary_folder as use;"
            "use(); print(os.environ['TMPDIR'])"
        )
        environment = os.environ | {"TMPDIR": folder}
        said = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert said.stdout.strip() == folder


def token_with_home(home: Path, **more: str) -> str:
    program = (
        "import os; from kmcl_platform.search.cluster.ray_session import _provide_token as provide;"
        "provide(); print(os.environ.get('RAY_AUTH_TOKEN', 'none'), os.environ['RAY_AUTH_MODE'])"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    said = subprocess.run(
        [sys.executable, "-c", program],
        env=kept | {"HOME": str(home)} | more,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in said.stderr
    token, mode = said.stdout.split()
    assert mode == "token"
    return token


def test_without_a_writable_home_each_search_has_its_own_token(tmp_path: Path) -> None:
    """HOME is a file: nobody can make a folder in it, not even root."""
    home = tmp_path / "home"
    home.write_text("")
    first, second = token_with_home(home), token_with_home(home)
    assert len(first) == len(second) == 64 and first != second
    assert token_with_home(home, RAY_AUTH_TOKEN="mine") == "mine"
    assert token_with_home(home, RAY_AUTH_TOKEN_PATH=str(tmp_path / "token")) == "none"


def test_in_a_usable_home_ray_keeps_its_token(tmp_path: Path) -> None:
    assert token_with_home(tmp_path) == "none"
    (tmp_path / ".ray" / "auth_token").write_text("x" * 64)
    assert token_with_home(tmp_path) == "none"


@pytest.mark.story
@pytest.mark.parametrize("module", ["ray", "ray.tune", "ray.train.torch"])
def test_a_program_may_have_imported_ray_before(module: str) -> None:
    program = (
        f"import {module}; from kmcl_platform.search.cluster.ray_session import start_ray, stop_ray;"
        "start_ray(None); print(len(ray.nodes()), 'node'); stop_ray()"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    said = subprocess.run([sys.executable, "-c", program], env=kept, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "1 node"


def test_a_node_that_is_not_ready_in_time_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def give_up(*_: object, **__: object) -> None:
        raise Exception("The current node timed out during startup.\nThe GCS may be overloaded.")

    monkeypatch.setattr(ray, "init", give_up)
    with pytest.raises(ClusterError, match="cannot be started on this machine: The current node timed out") as raised:
        start_ray(None)
    assert "with free CPUs and memory" in str(raised.value)
    assert "\n" not in str(raised.value)
