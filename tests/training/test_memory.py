"""Which errors mean that memory ran out, and the share of a GPU's memory that a process has."""

import pytest
import torch

from kmcl_platform.training.workers.memory import is_out_of_memory, limit_gpu_memory


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "NCCL error: unhandled cuda error\nncclUnhandledCudaError: Cuda failure 2 'out of memory'",
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate",
        "std::bad_alloc",
    ],
)
def test_libraries_say_in_their_own_words_that_memory_ran_out(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))


def test_other_errors_are_not_taken_for_it() -> None:
    assert is_out_of_memory(MemoryError()) and is_out_of_memory(torch.OutOfMemoryError())
    for message in ("CUDA error: an illegal memory access was encountered", "CUDNN_STATUS_EXECUTION_FAILED"):
        assert not is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_process_has_its_share_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[float, torch.device]] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *limit: limits.append(limit))
    gpu = torch.device("cuda", 1)
    for device, share in ((gpu, 0.5), (gpu, 1.0), (torch.device("cpu"), 0.5)):
        limit_gpu_memory(device, share)
    assert limits == [(0.5, gpu)]
