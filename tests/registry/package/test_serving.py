"""`mlflow models predict` and `serve` with a registered model, also with its requirements only and without a network."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kmcl_platform.data.loading.decode import decode_pixels
from tests.registry.package.packaged import check, jpeg, raw_scores, request
from tests.support.waiting import answers, free_port, wait_until


@pytest.fixture(scope="module")
def bare_python(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python in which only the model's requirements are installed."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
    subprocess.run([*install, "-r", str(package / "requirements.txt")], check=True)
    return folder / "bin" / "python"


def offline(python: Path) -> dict[str, str]:
    """The environment of that Python. It has no network: its proxy does not exist, and hubs are offline."""
    no_proxy = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    settings = {"HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    others = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return others | no_proxy | settings | {"PATH": f"{python.parent}:{os.environ['PATH']}"}


@pytest.mark.long
def test_mlflow_predicts_with_its_requirements_only(package: Path, bare_python: Path, tmp_path: Path) -> None:
    without = subprocess.run([bare_python, "-c", "import ray"], capture_output=True, text=True, check=False)
    assert "No module named 'ray'" in without.stderr
    (tmp_path / "request.json").write_text(request())
    command = [bare_python, "-m", "mlflow", "models", "predict", "--env-manager", "local", "-m", package]
    command += ["-i", tmp_path / "request.json", "-o", tmp_path / "answer.json", "-t", "json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=offline(bare_python), check=False)
    assert done.returncode == 0, done.stderr
    check((tmp_path / "answer.json").read_text(), package)


@contextmanager
def serving(python: Path, package: Path, folder: Path, **settings: str) -> Iterator[str]:
    """Start `mlflow models serve` on loopback; yields its address."""
    port = free_port()
    command = [python, "-m", "mlflow", "models", "serve", "--env-manager", "local", "-m", package]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "server.txt").open("w") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=offline(python) | settings
        )
    try:
        log = folder / "server.txt"
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/ping"), process=server, log=log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def post(address: str, body: str) -> tuple[int, str]:
    """Send a request; returns status and text of the answer."""
    question = urllib.request.Request(f"{address}/invocations", body.encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(question, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.story
def test_a_server_answers_bytes_and_arrays_and_reads_no_file(package: Path, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(jpeg())
    with serving(Path(sys.executable), package, tmp_path) as address:
        for body in (request(), request("array", decode_pixels(jpeg()).tolist())):
            status, answer = post(address, body)
            assert status == 200, answer
            check(answer, package)
        (row,) = json.loads(post(address, request(raw_scores=True))[1])["predictions"]
        assert [row[f"score: {name}"] for name in range(10)] == pytest.approx(raw_scores(package)[0].tolist(), abs=1e-5)
        assert [row[f"decision: {name}"] for name in range(10)] == [True, False] * 5
        status, answer = post(address, request("path", str(path)))
        assert status == 400
        assert "column 'path': a server reads no files; valid: 'image' or 'array'" in answer
        status, answer = post(address, request("other", 1))
        assert status == 400
        assert "exactly one of image, path, array" in answer


@pytest.mark.long
def test_a_server_reads_files_below_its_folder(package: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for path in (tmp_path / "images" / "image.jpg", tmp_path / "other.jpg"):
        path.write_bytes(jpeg())
    with serving(Path(sys.executable), package, tmp_path, KMCL_PATHS_FROM=str(tmp_path / "images")) as address:
        status, answer = post(address, request("path", "image.jpg"))
        assert status == 200, answer
        check(answer, package)
        status, answer = post(address, request("path", str(tmp_path / "other.jpg")))
        assert status == 400
        assert "outside the server's folder" in answer


@pytest.mark.long
def test_mlflow_serves_with_its_requirements_only(package: Path, bare_python: Path, tmp_path: Path) -> None:
    with serving(bare_python, package, tmp_path) as address:
        status, answer = post(address, request())
        assert status == 200, answer
        check(answer, package)
