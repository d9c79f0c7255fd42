"""The registered model as MLflow loads, asks and serves it: what it takes, what it gives, and what it needs.

Also where nothing is installed but its own requirements, and no network is asked for anything.
"""

import ast
import base64
import io
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image
from safetensors.torch import save_file

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.loading.decode import decode_pixels
from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.model.predictor import read_predictor, write_model
from kmcl_platform.registry.package.log_model import REQUIREMENTS, log_model
from kmcl_platform.training.build import build_model
from tests.support.waiting import answers, free_port, wait_until

CONFIG = TrialConfig().with_values({"data.image_size": 32, "model.backbone": "test_byobnet", "num_epochs": 1})
RULE = DecisionRule(2.0, (0.0, 1.0) * 5, "precision", 0.9, shift=-1.0)
"""Every other class is always predicted, and the others never."""
DISTRIBUTION_OF = {"PIL": "pillow", "huggingface_hub": "huggingface-hub"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A logged model of random weights, as it lies in MLflow's artifacts."""
    folder = tmp_path_factory.mktemp("package")
    manifest = build_digits(num_train=4, num_val=2, num_test=2)
    save_file(build_model(CONFIG.model, 10).state_dict(), folder / "weights.safetensors")
    write_model(folder / "model", folder / "weights.safetensors", CONFIG, manifest.class_names, RULE)
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    run = client.create_run(client.create_experiment("e", str(folder / "artifacts")))
    model_id = log_model(client, run.info.run_id, "m", folder / "model", manifest, 1, shows_uncertainty=False)
    (found,) = folder.glob(f"artifacts/models/{model_id}/artifacts")
    return found


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def request(column: str = "image", value: object = None, **params: object) -> str:
    value = base64.b64encode(jpeg()).decode() if value is None else value
    return json.dumps({"dataframe_split": {"columns": [column], "data": [[value]]}, "params": params})


def raw_scores(package: Path) -> np.ndarray:
    """What the network itself says of the image."""
    return read_predictor(package / "artifacts" / "model").predict([jpeg()]).scores_NK


@pytest.fixture(scope="module")
def model(package: Path) -> Any:
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(package))


@pytest.mark.slow
def test_bytes_paths_and_arrays_give_the_same(model: Any, package: Path, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(jpeg())
    given = [{"image": [jpeg()]}, {"path": [str(path)]}, {"array": [decode_pixels(jpeg())]}]
    tables = [model.predict(pd.DataFrame(columns)) for columns in given] + [model.predict({"image": [jpeg()]})]
    for table in tables:
        pd.testing.assert_frame_equal(table, tables[0])
    table = tables[0]
    scores = [table[f"score: {name}"][0] for name in range(10)]
    assert scores == pytest.approx(RULE.calibrate(raw_scores(package))[0].tolist())
    assert [bool(table[f"decision: {name}"][0]) for name in range(10)] == [True, False] * 5
    assert table["decision: 0"].dtype == bool
    even = sorted(range(0, 10, 2), key=lambda name: -scores[name])
    assert table["labels"].tolist() == ["|".join(map(str, even))]


@pytest.mark.slow
def test_raw_scores_are_those_of_the_network(model: Any, package: Path) -> None:
    calibrated, raw = (model.predict({"image": [jpeg()]}, params={"raw_scores": asked}) for asked in (False, True))
    found = [raw[f"score: {name}"][0] for name in range(10)]
    assert found == pytest.approx(raw_scores(package)[0].tolist(), abs=1e-6)
    assert found != pytest.approx([calibrated[f"score: {name}"][0] for name in range(10)], abs=1e-3)
    others = [name for name in calibrated.columns if not name.startswith("score: ")]
    pd.testing.assert_frame_equal(calibrated[others], raw[others])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"other": [1]}, "columns: got none of them; valid: exactly one of image, path, array"),
        ({"image": [b"a"], "path": ["b"]}, "columns: got image and path; valid: exactly one of image, path, array"),
        ({"image": [b"no image"]}, "image 0: cannot be decoded (UnidentifiedImageError: no known image format)"),
        ({"path": ["gone.png"]}, "path 'gone.png': cannot be read"),
        ({"array": [np.zeros((4, 4), np.uint8)]}, "got shape (4, 4); valid: whole numbers 0 to 255"),
    ],
)
def test_a_wrong_input_is_one_clear_error(model: Any, columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(MlflowException) as caught:
        model.predict(pd.DataFrame(columns))
    assert message in caught.value.message
    assert caught.value.get_http_status_code() == 400


WITHOUT = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ray", "optuna"):
            raise ImportError(name + " is refused")

sys.meta_path.insert(0, Refused())
import pickle, pandas, torch, mlflow.pyfunc

def refuse(*args, **options):
    raise AssertionError("a pickle is read")

pickle.load = pickle.loads = torch.load = refuse
table = mlflow.pyfunc.load_model(sys.argv[1]).predict(pandas.DataFrame({"path": [sys.argv[2]]}))
print(table.to_json(orient="records"))
"""


@pytest.mark.slow
def test_it_predicts_where_there_is_no_ray_and_no_pickle_is_read(package: Path, tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(jpeg())
    command = [sys.executable, "-c", WITHOUT, str(package), "image.jpg"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    check(f'{{"predictions": {done.stdout}}}', package)


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
    # By their contents too: a pickle of any protocol since 2 and the archives that torch writes begin so.
    for path in package.rglob("*"):
        assert path.is_dir() or not path.read_bytes().startswith((b"\x80", b"PK")), path


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
    expected = RULE.calibrate(raw_scores(package))[0]
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


@contextmanager
def serving(python: Path, package: Path, folder: Path, **settings: str) -> Iterator[str]:
    """`mlflow models serve` on loopback; its address."""
    port = free_port()
    command = [python, "-m", "mlflow", "models", "serve", "--env-manager", "local", "-m", package]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "server.txt").open("w") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=offline(python) | settings
        )
    try:
        log = folder / "server.txt"
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/ping"), seconds=180, process=server, log=log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def ask(address: str, body: str) -> tuple[int, str]:
    """Status and text of an answer."""
    asked = urllib.request.Request(f"{address}/invocations", body.encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.slow
def test_a_server_answers_bytes_and_arrays_and_reads_no_file(package: Path, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(jpeg())
    with serving(Path(sys.executable), package, tmp_path) as address:
        for body in (request(), request("array", decode_pixels(jpeg()).tolist())):
            status, answer = ask(address, body)
            assert status == 200, answer
            check(answer, package)
        (row,) = json.loads(ask(address, request(raw_scores=True))[1])["predictions"]
        assert [row[f"score: {name}"] for name in range(10)] == pytest.approx(raw_scores(package)[0].tolist(), abs=1e-5)
        assert [row[f"decision: {name}"] for name in range(10)] == [True, False] * 5
        status, answer = ask(address, request("path", str(path)))
        assert status == 400
        assert "column 'path': a server reads no files; valid: 'image' or 'array'" in answer
        status, answer = ask(address, request("other", 1))
        assert status == 400
        assert "exactly one of image, path, array" in answer


@pytest.mark.long
def test_a_server_reads_files_below_the_folder_it_was_given(package: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for path in (tmp_path / "images" / "image.jpg", tmp_path / "other.jpg"):
        path.write_bytes(jpeg())
    with serving(Path(sys.executable), package, tmp_path, KMCL_PATHS_FROM=str(tmp_path / "images")) as address:
        status, answer = ask(address, request("path", "image.jpg"))
        assert status == 200, answer
        check(answer, package)
        status, answer = ask(address, request("path", str(tmp_path / "other.jpg")))
        assert status == 400
        assert "lies outside the server's folder" in answer


@pytest.mark.long
def test_mlflow_serves_with_its_requirements_alone(package: Path, bare_python: Path, tmp_path: Path) -> None:
    with serving(bare_python, package, tmp_path) as address:
        status, answer = ask(address, request())
        assert status == 200, answer
        check(answer, package)
