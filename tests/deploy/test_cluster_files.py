"""The files for Ray's cluster launcher are valid for the installed Ray, and open no port to other networks."""

import copy
import importlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
LAUNCHER_FILES = ["cluster.yaml", "deploy/onprem.yaml"]
DEPLOYED = [
    *(ROOT / name for name in LAUNCHER_FILES),
    *sorted(path for path in (ROOT / "deploy").rglob("*") if path.is_file() and path.suffix != ".pyc"),
]
COMMANDS = [
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
]


@pytest.fixture(params=LAUNCHER_FILES)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return _read(request.param)


@pytest.mark.locked
def test_rays_schema_and_its_own_checks_accept_the_file(config: dict[str, Any]) -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    validate_config(prepare_config(copy.deepcopy(config)))


def test_a_misspelt_field_is_refused(config: dict[str, Any]) -> None:
    config["head_start_rey_commands"] = config.pop("head_start_ray_commands")
    with pytest.raises(jsonschema.ValidationError, match="head_start_rey_commands"):
        validate_config(prepare_config(config))


def test_the_head_offers_nothing_to_trials(config: dict[str, Any]) -> None:
    (start,) = _ray_starts(config, "head_start_ray_commands")
    assert {"--num-cpus=0", "--num-gpus=0"} <= set(start.split())
    for name, node_type in config.get("available_node_types", {}).items():
        if name == config["head_node_type"]:
            assert node_type["resources"] == {"CPU": 0, "GPU": 0}
            assert node_type["max_workers"] == 0


def test_every_command_is_valid_bash(config: dict[str, Any]) -> None:
    for command in _commands(config):
        checked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        assert checked.returncode == 0, f"{command}: {checked.stderr}"


def test_the_files_that_commands_name_exist(config: dict[str, Any]) -> None:
    (checkout,) = (remote for remote, local in config["file_mounts"].items() if local == ".")
    named = set()
    for command in _commands(config):
        words = re.findall(rf"{re.escape(checkout)}/([\w./-]+)", command)
        if command.startswith(f"cd {checkout} "):
            words += re.findall(r"(?<=-r )[\w./-]+", command)
        named |= {word for word in words if not word.startswith(".venv/")}
    assert {"deploy/head_services.sh", "requirements.lock"} <= named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_every_start_of_ray_wants_the_token(config: dict[str, Any]) -> None:
    starts = [*_ray_starts(config, "head_start_ray_commands"), *_ray_starts(config, "worker_start_ray_commands")]
    assert len(starts) == 2
    for start in starts:
        before, _, _ = start.partition("ray start")
        assert re.search(r"export [^;]*\bRAY_AUTH_MODE=token\b", before), start
    (token,) = (remote for remote, local in config["file_mounts"].items() if local == "~/.ray/auth_token")
    assert token == f"/home/{config['auth']['ssh_user']}/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in command for command in config["setup_commands"])


def test_dashboard_mlflow_and_postgres_are_on_loopback(config: dict[str, Any]) -> None:
    (start,) = _ray_starts(config, "head_start_ray_commands")
    assert "--dashboard-host=127.0.0.1" in start.split()
    services = (ROOT / "deploy" / "head_services.sh").read_text()
    assert re.findall(r"--host (\S+)", services) == ["127.0.0.1"]
    for command in [*_commands(config), services]:
        assert "0.0.0.0" not in command
        assert "listen_addresses" not in command
        for address in re.findall(r"(?:http|postgresql\+psycopg)://(?:\w+@)?([\w.$]+)", command):
            assert address in ("127.0.0.1", "$host"), command


def test_dependencies_are_installed_by_hash(config: dict[str, Any]) -> None:
    installs = [command for command in config["setup_commands"] if "uv pip install" in command]
    assert all("--require-hashes -r requirements.lock" in c or "--no-deps -e ." in c for c in installs)
    assert len(installs) == 2


def test_the_store_is_mounted_on_every_node_before_anything_else(config: dict[str, Any]) -> None:
    assert any(
        re.search(r"mountpoint -q /shared \|\| sudo mount -t nfs4", c) for c in config["initialization_commands"]
    )
    services = [command for command in config["head_start_ray_commands"] if "head_services.sh" in command]
    assert all(command.startswith("KMCL_STORE=/shared/") for command in services)


@pytest.mark.parametrize("path", DEPLOYED, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_holds_a_secret(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\b[0-9a-fA-F]{32,}\b", text), "a token or a digest"
    assert not re.search(r"AKIA[0-9A-Z]{16}|-----BEGIN", text), "a key"
    assert not re.search(r"://\w+:[^@\s$]+@", text), "a password in an address"
    assert not re.search(r"(?i)\b(RAY_AUTH_TOKEN|PGPASSWORD|\w*password)\s*[=:]\s*['\"]?\w", text), "a password"


def test_workers_differ_only_in_their_market_and_spot_is_first() -> None:
    types = _read("cluster.yaml")["available_node_types"]
    spot, on_demand = copy.deepcopy(types["gpu_worker"]), copy.deepcopy(types["gpu_worker_on_demand"])
    assert spot["node_config"].pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot.pop("priority") > on_demand.pop("priority")
    assert spot == on_demand


def test_the_cluster_promises_what_its_autoscaler_may_launch() -> None:
    from kmcl_platform.search.cluster.resources import parse_nodes

    config = _read("cluster.yaml")
    (start,) = _ray_starts(config, "head_start_ray_commands")
    (promise,) = re.findall(r"KMCL_CLUSTER_NODES=(\S+)", start)
    workers = [node for name, node in config["available_node_types"].items() if name != config["head_node_type"]]
    assert all(node["max_workers"] == config["max_workers"] for node in workers)
    assert all(parse_nodes(promise) == [node["resources"]] * config["max_workers"] for node in workers)


def test_the_provider_is_ours() -> None:
    module, _, name = _read("cluster.yaml")["provider"]["module"].rpartition(".")
    assert getattr(importlib.import_module(module), name).__name__ == "SpotFirstProvider"


class _Ray:
    """Ray's scheduler for one trial's demand, after an instance of type gpu_worker has ended."""

    def __init__(self, ended_as: str | None) -> None:
        from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
        from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import CloudResourceMonitor
        from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent

        self._config = AutoscalingConfig(_read("cluster.yaml"), skip_content_hash=True)
        self._monitor = CloudResourceMonitor()
        if ended_as:
            status = Instance.InstanceStatus.Value(ended_as)
            self._monitor.notify([InstanceUpdateEvent(new_instance_status=status, instance_type="gpu_worker")])

    def launches(self) -> list[str]:
        from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
        from ray.autoscaler.v2.utils import ResourceRequestUtil
        from ray.core.generated.autoscaler_pb2 import ResourceRequestByCount

        demand = ResourceRequestByCount(request=ResourceRequestUtil.make({"CPU": 4, "GPU": 1}), count=1)
        reply = ResourceDemandScheduler(event_logger=None).schedule(
            SchedulingRequest(
                node_type_configs=self._config.get_node_type_configs(),
                max_num_nodes=self._config.get_max_num_nodes(),
                resource_requests=[demand],
                gang_resource_requests=[],
                cluster_resource_constraints=[],
                current_instances=[],
                idle_timeout_s=None,
                disable_launch_config_check=True,
                cloud_resource_availabilities=self._monitor.get_resource_availabilities(),
                recoverable_resource_availabilities=self._monitor.get_recoverable_resource_availabilities(),
            )
        )
        return [request.instance_type for request in reply.to_launch]


@pytest.mark.locked
@pytest.mark.parametrize(
    ("ended_as", "launched"),
    [
        (None, "gpu_worker"),
        ("ALLOCATION_TIMEOUT", "gpu_worker_on_demand"),
        # EC2 refused the launch. That Ray asks for the same again is why the provider is ours.
        ("ALLOCATION_FAILED", "gpu_worker"),
    ],
)
def test_what_rays_own_autoscaler_launches_next(ended_as: str | None, launched: str) -> None:
    assert _Ray(ended_as).launches() == [launched]


def _read(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return config


def _commands(config: dict[str, Any]) -> Iterator[str]:
    for kind in COMMANDS:
        yield from config.get(kind, [])


def _ray_starts(config: dict[str, Any], kind: str) -> list[str]:
    return [command for command in config[kind] if "ray start" in command]
