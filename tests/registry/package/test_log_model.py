"""The registered model as MLflow loads it: its inputs, its outputs, and the packages that it needs."""

import ast
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from kmcl_platform.data.loading.decode import decode_pixels
from kmcl_platform.registry.package import log_model
from kmcl_platform.registry.package.log_model import REQUIREMENTS
from tests.registry.package.packaged import RULE, check, jpeg, raw_scores

DISTRIBUTION_OF = {"PIL": "pillow", "huggingface_hub": "huggingface-hub"}


@pytest.fixture(scope="module")
def model(package: Path) -> Any:
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(package))


@pytest.mark.story
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


@pytest.mark.story
def test_raw_scores_are_those_of_the_network(model: Any, package: Path) -> None:
    calibrated, raw = (model.predict({"image": [jpeg()]}, params={"raw_scores": raw}) for raw in (False, True))
    found = [raw[f"score: {name}"][0] for name in range(10)]
    assert found == pytest.approx(raw_scores(package)[0].tolist(), abs=1e-6)
    assert found != pytest.approx([calibrated[f"score: {name}"][0] for name in range(10)], abs=1e-3)
    others = [name for name in calibrated.columns if not name.startswith("score: ")]
    pd.testing.assert_frame_equal(calibrated[others], raw[others])


@pytest.mark.story
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"other": [1]}, "columns: got none of them; valid: exactly one of image, path, array"),
        ({"image": [b"a"], "path": ["b"]}, "columns: got image and path; valid: exactly one of image, path, array"),
        ({"image": [b"no image"]}, "image 0: cannot be decoded (UnidentifiedImageError: no known image format)"),
        ({"path": ["gone.png"]}, "path: got 'gone.png', which cannot be read"),
        ({"array": [np.zeros((4, 4), np.uint8)]}, "got shape (4, 4); valid: whole numbers 0 to 255"),
    ],
)
def test_a_wrong_input_gives_one_clear_error(model: Any, columns: dict[str, list[object]], message: str) -> None:
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
import json, pickle, pandas, torch, mlflow.pyfunc

def refuse(*args, **options):
    raise AssertionError("a pickle is read")

pickle.load = pickle.loads = torch.load = refuse
table = mlflow.pyfunc.load_model(sys.argv[1]).predict(pandas.DataFrame({"path": [sys.argv[2]]}))
modules = [m.__file__ for n, m in sys.modules.items() if n.startswith("kmcl_platform") and m.__file__]
print(json.dumps({"predictions": json.loads(table.to_json(orient="records")), "modules": modules}))
"""


@pytest.fixture(scope="module")
def fresh_process(package: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The answer of the model in a new process without Ray, and the files of this project that it has imported."""
    folder = tmp_path_factory.mktemp("fresh_process")
    (folder / "image.jpg").write_bytes(jpeg())
    command = [sys.executable, "-c", WITHOUT, str(package), "image.jpg"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.story
def test_a_model_predicts_without_ray_and_reads_no_pickle(package: Path, fresh_process: str) -> None:
    check(fresh_process, package)


@pytest.mark.story
def test_all_packages_that_the_code_of_a_model_imports_are_required(package: Path, fresh_process: str) -> None:
    files = [Path(name) for name in json.loads(fresh_process)["modules"] if name.endswith(".py")]
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


def test_a_model_requires_torchcodec_where_it_is_installed() -> None:
    names = {requirement.partition("==")[0] for requirement in log_model._pinned_requirements()}
    assert names == {*REQUIREMENTS, *(["torchcodec"] if find_spec("torchcodec") else [])}


@pytest.mark.story
def test_a_model_contains_no_pickle(package: Path) -> None:
    names = {path.suffix for path in package.rglob("*") if path.is_file()}
    assert ".safetensors" in names
    assert names.isdisjoint({".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib"})
    # Also by content: pickles of protocol 2 and later and torch's archives begin with these bytes.
    for path in package.rglob("*"):
        assert path.is_dir() or not path.read_bytes().startswith((b"\x80", b"PK")), path
