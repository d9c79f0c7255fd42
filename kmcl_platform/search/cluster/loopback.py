"""Ray and its training workers on this machine only: no other machine can reach any of their ports."""

import os
import sys
import uuid
from pathlib import Path
from typing import Any

from kmcl_platform.training.workers import notice

LOOPBACK = "127.0.0.1"

_SWITCH = "KMCL_ON_LOOPBACK"

ENVIRONMENT = {
    _SWITCH: "1",
    # Ray replaces 127.0.0.1 by the machine's own address on Linux, or listens on all addresses. The name of this switch
    # is misleading: with "0", Ray does on Linux what it does on Windows and macOS, and stays on loopback.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Without an interface, the workers connect through the address of the host's name, which others may reach.
    **{f"{name}_SOCKET_IFNAME": "lo" for name in ("GLOO", "NCCL") if sys.platform == "linux"},
}
"""The environment of a Ray that is started on this machine. All its processes read it when they import Ray."""


def torch_config(folder: Path) -> Any:
    """The setting of Ray Train that decides how the workers of a group connect. On a cluster it is Ray's own way.

    Args:
        folder: exists as long as the group; used on this machine only.
    """
    from ray.train.torch import TorchConfig
    from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

    class Backend(_TorchBackend):
        """Ray's own, whose workers also take SIGTERM as a notice."""

        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            super().on_start(worker_group, backend_config)
            # Here a function runs in the main thread of each worker, in which alone Python sets handlers.
            worker_group.execute(notice.listen)

    class Config(TorchConfig):
        @property
        def backend_cls(self) -> type:
            return Backend

    if os.environ.get(_SWITCH) != "1":
        return Config()

    class FileBackend(_TorchBackend):
        """Connects the workers through a file, because torch's default, a TCP store, listens on every address."""

        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            import ray

            # A new file for each start of the group: entries of dead workers would be taken for live ones.
            meeting = folder / f"meeting-{uuid.uuid4().hex}"
            # From here on as in Ray's own backend, which accepts no address but that of a TCP store.
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
            worker_group.execute(notice.listen)

    class FileConfig(TorchConfig):
        @property
        def backend_cls(self) -> type:
            return FileBackend

    return FileConfig()
