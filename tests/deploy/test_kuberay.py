"""The manifests for KubeRay use published fields, and describe the same cluster as the launcher's files."""

import copy
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kmcl_platform.search.cluster.resources import parse_nodes

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kuberay"
MANIFESTS = ["raycluster.yaml", "rayjob.yaml", "store.yaml"]
SCHEMA = yaml.safe_load((Path(__file__).parent / "kuberay_schema.yaml").read_text())


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_field_is_a_published_one(name: str) -> None:
    _validate(_read(name))


def test_no_manifest_is_left_out() -> None:
    assert sorted(path.name for path in FOLDER.glob("*.yaml")) == MANIFESTS


def _misspelt(*path: Any, wrong: str) -> Any:
    return pytest.param(path, wrong, id=wrong)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        _misspelt("spec", "shutdownAfterJobFinishes", wrong="shutdownAfterJobFinished"),
        _misspelt("spec", "rayClusterSpec", "authOptions", wrong="authOption"),
        _misspelt("spec", "rayClusterSpec", "workerGroupSpecs", 0, "maxReplicas", wrong="maxReplica"),
        _misspelt("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "volumes", wrong="volume"),
    ],
)
def test_a_misspelt_field_is_refused(path: tuple[Any, ...], wrong: str) -> None:
    manifest = _read("rayjob.yaml")
    node = manifest
    for step in path[:-1]:
        node = node[step]
    node[wrong] = node.pop(path[-1])
    with pytest.raises(jsonschema.ValidationError):
        _validate(manifest)


@pytest.mark.parametrize("value", ["4", "four", -1])
def test_a_number_of_the_wrong_type_is_refused(value: object) -> None:
    manifest = _read("raycluster.yaml")
    manifest["spec"]["workerGroupSpecs"][0]["maxReplicas"] = value
    with pytest.raises(jsonschema.ValidationError):
        _validate(manifest)


def test_job_and_cluster_describe_the_same_cluster() -> None:
    assert _read("rayjob.yaml")["spec"]["rayClusterSpec"] == _read("raycluster.yaml")["spec"]


def test_the_head_offers_nothing_to_trials_and_is_not_exposed() -> None:
    spec = _read("raycluster.yaml")["spec"]
    assert spec["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert spec["authOptions"] == {"mode": "token", "secretName": "kmcl-ray-token"}


@pytest.mark.locked
def test_rays_version_is_the_locked_one() -> None:
    assert _read("raycluster.yaml")["spec"]["rayVersion"] == version("ray")


def test_the_head_promises_what_the_workers_may_grow_to() -> None:
    spec = _read("raycluster.yaml")["spec"]
    environment = {entry["name"]: entry["value"] for entry in _container(spec["headGroupSpec"])["env"]}
    (group,) = spec["workerGroupSpecs"]
    limits = _container(group)["resources"]["limits"]
    node = {"CPU": float(limits["cpu"]), "GPU": float(limits["nvidia.com/gpu"])}
    assert parse_nodes(environment["KMCL_CLUSTER_NODES"]) == [node] * group["maxReplicas"]
    assert group["minReplicas"] == 0


def test_every_pod_sees_the_store() -> None:
    spec = _read("raycluster.yaml")["spec"]
    claim = _read("store.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert {"name": "store", "mountPath": "/shared"} in _container(group)["volumeMounts"]
        volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
        assert volumes["store"]["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}
        assert {mount["name"] for mount in _container(group)["volumeMounts"]} == volumes.keys()


def test_the_job_runs_files_that_the_image_holds() -> None:
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    home = next(line.split()[1] for line in lines if line.startswith("WORKDIR "))
    copied = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    program, *files = shlex.split(_read("rayjob.yaml")["spec"]["entrypoint"])
    assert program == "python"
    for file in files:
        inside = Path(file).relative_to(home)
        assert (ROOT / inside).is_file()
        assert inside.parts[0] in copied


def test_the_image_installs_the_lock_by_hash() -> None:
    assert "--require-hashes -r requirements.lock" in (FOLDER / "Dockerfile").read_text()


def _read(name: str) -> dict[str, Any]:
    (manifest,) = yaml.safe_load_all((FOLDER / name).read_text())
    return copy.deepcopy(manifest)


def _validate(manifest: dict[str, Any]) -> None:
    jsonschema.validate(manifest, {"$ref": f"#/$defs/{manifest['kind']}", "$defs": SCHEMA["$defs"]})


def _container(group: dict[str, Any]) -> dict[str, Any]:
    (container,) = group["template"]["spec"]["containers"]
    return container
