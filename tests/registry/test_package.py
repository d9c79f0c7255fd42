"""The registered model where nothing is installed but its own requirements, and no network is asked for anything."""

import ast
import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from safetensors.torch import save_file

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.digits import build_digits
from kmcl_platform.registry.package import REQUIREMENTS, log_model
from kmcl_platform.registry.predictor import has_uncertainties, read_predictor, write_model
from kmcl_platform.training.build import build_model

CONFIG = TrialConfig().with_values({"data.image_size": 32, "model.backbone": "test_byobnet", "num_epochs": 1})
DISTRIBUTION_OF = {"PIL": "pillow", "huggingface_hub": "huggingface-hub"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A logged model of random weights, as it lies in MLflow's artifacts."""
    folder = tmp_path_factory.mktemp("package")
    manifest = build_digits(num_train=4, num_val=2, num_test=2)
    save_file(build_model(CONFIG.model, 10).state_dict(), folder / "weights.safetensors")
    write_model(folder / "model", folder / "weights.safetensors", CONFIG, manifest.class_names)
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    run = client.create_run(client.create_experiment("e", str(folder / "artifacts")))
    model_id = log_model(
        client, run.info.run_id, "m", folder / "model", manifest, 1, has_uncertainties=has_uncertainties(CONFIG.loss)
    )
    (found,) = folder.glob(f"artifacts/models/{model_id}/artifacts")
    return found


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def request() -> str:
    return json.dumps({"dataframe_split": {"columns": ["image"], "data": [[base64.b64encode(jpeg()).decode()]]}})


@pytest.mark.slow
def test_all_that_its_code_imports_is_required(package: Path) -> None:
    script = (
        "import sys, mlflow.pyfunc; mlflow.pyfunc.load_model(sys.argv[1])\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('kmcl_platform') and m.__file__), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(package)], capture_output=True, text=True, check=True, cwd=package
    )
    files = [Path(line) for line in done.stdout.splitlines() if line.endswith(".py")]
    assert len(files) > 20
    assert all(package in file.parents for file in files)
    imported = set()
    for file in files:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    others = {name for name in imported if name not in sys.stdlib_module_names and name != "kmcl_platform"}
    assert {DISTRIBUTION_OF.get(name, name) for name in others} <= set(REQUIREMENTS)


def test_nothing_in_it_is_a_pickle(package: Path) -> None:
    names = {path.suffix for path in package.rglob("*") if path.is_file()}
    assert ".safetensors" in names
    assert names.isdisjoint({".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib"})


@pytest.fixture(scope="module")
def bare_python(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the model's requirements, and nothing else."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
    subprocess.run([*install, "-r", str(package / "requirements.txt")], check=True)
    return folder / "bin" / "python"


def offline(python: Path) -> dict[str, str]:
    """The environment as if it was activated; where a proxy leads to the network, none answers; hubs are not asked."""
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    settings = {"HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | nowhere | settings | {"PATH": f"{python.parent}:{os.environ['PATH']}"}


def check(answer: str, package: Path) -> None:
    (row,) = json.loads(answer)["predictions"]
    expected = read_predictor(package / "artifacts" / "model").predict([jpeg()]).scores_NK[0]
    assert [row[f"score: {name}"] for name in range(10)] == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.long
def test_mlflow_predicts_with_its_requirements_alone(package: Path, bare_python: Path, tmp_path: Path) -> None:
    without = subprocess.run([bare_python, "-c", "import ray"], capture_output=True, text=True, check=False)
    assert "No module named 'ray'" in without.stderr
    (tmp_path / "request.json").write_text(request())
    command = [bare_python, "-m", "mlflow", "models", "predict", "--env-manager", "local", "-m", package]
    command += ["-i", tmp_path / "request.json", "-o", tmp_path / "answer.json", "-t", "json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=offline(bare_python), check=False)
    assert done.returncode == 0, done.stderr
    check((tmp_path / "answer.json").read_text(), package)


@pytest.mark.long
def test_mlflow_serves_with_its_requirements_alone(package: Path, bare_python: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    command = [bare_python, "-m", "mlflow", "models", "serve", "--env-manager", "local", "-m", package]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (tmp_path / "server.txt").open("w") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=tmp_path, env=offline(bare_python)
        )
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < deadline and server.poll() is None, (tmp_path / "server.txt").read_text()
                time.sleep(0.5)
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", request().encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            check(answer.read().decode(), package)
    finally:
        server.terminate()
        server.wait(30)
