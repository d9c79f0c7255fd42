"""What every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported: two spinning threads on a busy machine of two cores are many times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SMALL_SEARCH = """
name: small
base:
  data: {{source: {source}, image_size: 32, batch_size: 32}}
  model: {{backbone: test_byobnet}}
  optim: {{optimizer: adamw, lr: 5e-3, ema_decay: 0.9}}
  num_epochs: {epochs}
space:
  model.kernels_per_class: {{kind: int, low: 1, high: 3}}
  loss.temperature: {{kind: loguniform, low: 0.05, high: 1}}
budget: {{trials: {trials}}}
scheduler: {{kind: successive_halving, min_epochs: 1, reduction_factor: 2}}
resources: {{workers_per_trial: 2, cpus_per_worker: 1}}
sampler: {{kind: tpe, seed: 3}}
"""


@pytest.fixture(scope="session")
def small_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few hundred real digit mosaics, as a manifest file."""
    from kmcl_platform.data.builtin.digits import build_digits
    from kmcl_platform.data.manifest.parquet import write_manifest

    path = tmp_path_factory.mktemp("data") / "few_digits.parquet"
    write_manifest(build_digits(num_train=192, num_val=97, num_test=64), path)
    return path


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Environment variables of the person who runs the tests must not decide where they write."""
    for name in ("KMCL_STORE", "KMCL_TRACKING_URI", "KMCL_STUDY_URL", "KMCL_CLUSTER_NODES"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    yield


def write_small_search(folder: Path, manifest: Path, *, epochs: int = 3, trials: int = 3) -> Path:
    """A search that takes seconds to train."""
    path = folder / "small.yaml"
    path.write_text(SMALL_SEARCH.format(source=manifest, epochs=epochs, trials=trials))
    return path


@pytest.fixture(scope="session")
def small_search():  # type: ignore[no-untyped-def]
    """The function that writes a small search file."""
    return write_small_search
