"""A Ray in this machine, and its training workers, of which nobody on the network finds a port."""

import os
import sys
import uuid
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"

_SWITCH = "KMCL_ON_LOOPBACK"

ENVIRONMENT = {
    _SWITCH: "1",
    # Ray takes 127.0.0.1 for a slip and listens on the machine's own address instead, or on all of them. With this
    # switch off it does on Linux what it does on Windows and macOS: everything stays on loopback.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Workers meet at the address that the host's name stands for, unless they are told.
    **{f"{name}_SOCKET_IFNAME": "lo" for name in ("GLOO", "NCCL") if sys.platform == "linux"},
}
"""Environment of a Ray that is started in this machine; read when Ray is imported, by all of its processes."""


def torch_config(folder: Path) -> Any:
    """How the workers of a group find each other, as Ray Train wants it: in a cluster, in Ray's own way.

    Args:
        folder: lives as long as the group; used in this machine only.
    """
    from ray.train.torch import TorchConfig
    from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

    if os.environ.get(_SWITCH) != "1":
        return TorchConfig()

    class FileBackend(_TorchBackend):
        """Through a file: torch's own meeting point, a TCP store, listens on every address of the machine."""

        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            import ray

            # A new file for each start of the group: what dead workers wrote would mislead the next ones.
            meeting = folder / f"meeting-{uuid.uuid4().hex}"
            worker_group.execute(_set_torch_distributed_env_vars)
            size = len(worker_group)
            ray.get(
                [
                    worker_group.execute_single_async(
                        rank,
                        _setup_torch_process_group,
                        backend="nccl" if worker_group.get_resources_per_worker().get("GPU", 0) else "gloo",
                        world_rank=rank,
                        world_size=size,
                        init_method=f"file://{meeting}",
                        timeout_s=backend_config.timeout_s,
                    )
                    for rank in range(size)
                ]
            )

    class FileConfig(TorchConfig):
        @property
        def backend_cls(self) -> type:
            return FileBackend

    return FileConfig()
