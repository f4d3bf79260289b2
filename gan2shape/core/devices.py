"""Which device, which number format and how many CPU threads to use on this machine, now.

On a machine that others use too, more threads can be far slower than one: each parallel section waits for its slowest
thread, and waiting burns the core that it needs.
"""

import os
import shutil
import time
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional as F

from gan2shape.core.errors import UserError
from gan2shape.core.progress import say

PROBE_SHAPE = (8, 64, 32, 32)  # activations of the timing probe
PROBE_RUNS = 4
THREAD_PROBE_RUNS = 30
PROBE_GAIN = 1.2  # bf16 must be this much faster to be chosen


_LOADED_IN = os.getpid()


def one_thread_after_fork() -> None:
    """In a process that was forked off one that has imported this, work with one CPU thread: the parent's threads are
    not there, and OpenMP would wait for them for ever.
    """
    if os.getpid() != _LOADED_IN and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


@dataclass(frozen=True)
class DeviceChoice:
    """What "auto" takes on this machine."""

    device: torch.device
    reason: str  # a clause, in lower case
    is_expected: bool  # False where a user might count on another device


def automatic_device() -> DeviceChoice:
    """CUDA where there is any, else the CPU; never MPS, which is untested."""
    cpu, hidden = torch.device("cpu"), os.environ.get("CUDA_VISIBLE_DEVICES")
    if torch.cuda.is_available():
        n_gpus, first = torch.cuda.device_count(), torch.cuda.get_device_name()
        reason = first if n_gpus == 1 else f"{first}, one of {n_gpus} GPUs (--device cuda:1 takes the second one)"
        return DeviceChoice(torch.device("cuda"), reason, n_gpus == 1)
    if hidden is not None and hidden.strip() in ("", "-1"):
        return DeviceChoice(cpu, "CUDA_VISIBLE_DEVICES hides all GPUs", True)
    if torch.backends.mps.is_available():
        return DeviceChoice(cpu, "an Apple GPU is there but untested (--device mps tries it)", False)
    if shutil.which("nvidia-smi") is None:
        return DeviceChoice(cpu, "no NVIDIA driver was found", True)
    if torch.version.cuda is None:
        return DeviceChoice(cpu, "an NVIDIA driver is there, but this torch is a build without CUDA", False)
    reason = f"an NVIDIA driver is there, but no GPU answers this torch (built for CUDA {torch.version.cuda})"
    return DeviceChoice(cpu, reason, False)


@cache
def _say_once(sentence: str) -> None:
    """A verb asks for its device in several places, and the answer is the same."""
    say(sentence)


def choose_device(name: str) -> torch.device:
    """The device of a name such as cpu, cuda, cuda:1 or mps; "auto" is that of `automatic_device`, and says so where it
    may be a surprise. Raises UserError for a device that cannot be used.
    """
    if name == "auto":
        choice = automatic_device()
        if not choice.is_expected:
            _say_once(f"Device {choice.device}: {choice.reason}.")
        return choice.device
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"The device {name!r} cannot be used here: try --device auto.") from error
    return device


def process_rank() -> int:
    """The number of this process among those that `torchrun` has started together; 0 where it has not."""
    return int(os.environ.get("RANK", "0"))


def upload(values: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """`values` of the CPU on `device`, without waiting for what the device still has to do.

    CUDA keeps pageable memory before the call returns, so that the source may change at once; MPS does not.
    """
    return values.to(device, non_blocking=torch.device(device).type != "mps")


def convolution_seconds(dtype: torch.dtype, device: torch.device) -> float:
    """Least of a few timings of one 3x3 convolution."""
    x = torch.ones(PROBE_SHAPE, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(PROBE_SHAPE[1], PROBE_SHAPE[1], 3, 3, dtype=dtype, device=device)
    timings = []
    for _ in range(PROBE_RUNS):
        start = time.perf_counter()
        F.conv2d(x, weight, padding=1).sum().item()
        timings.append(time.perf_counter() - start)
    return min(timings)


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """float32 or bfloat16 for autocast. "auto" asks the GPU, or times the CPU (many emulate bf16, slowly)."""
    if precision in ("fp32", "bf16"):
        return torch.float32 if precision == "fp32" else torch.bfloat16
    if precision != "auto":
        raise UserError(f"precision {precision!r} is unknown: use auto, fp32 or bf16.")
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type != "cpu":
        return torch.float32
    slow, fast = convolution_seconds(torch.float32, device), convolution_seconds(torch.bfloat16, device)
    return torch.bfloat16 if slow > PROBE_GAIN * fast else torch.float32


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether it is a CPU with instructions for bfloat16 (AVX-512 or AMX): a property of the machine, not a timing, so
    that the same command gives the same numbers again.
    """
    checks = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return device.type == "cpu" and any(check is not None and check() for check in checks)


def choose_threads(n_threads: int, device: torch.device) -> int:
    """Set the number of CPU threads and return it: `n_threads`, or for 0 whichever of 1 and all is faster now.

    With 0, a number given through the environment variable OMP_NUM_THREADS stays.
    """
    available = os.cpu_count() or 1
    is_free = n_threads == 0 and "OMP_NUM_THREADS" not in os.environ
    if is_free and device.type == "cpu" and available > 1:
        seconds = {n: convolution_seconds_with(n, device) for n in (1, available)}
        n_threads = min(seconds, key=seconds.get)
    torch.set_num_threads(n_threads or torch.get_num_threads())
    return torch.get_num_threads()


def convolution_seconds_with(n_threads: int, device: torch.device) -> float:
    """Duration of a burst of convolutions with `n_threads` threads (the sum: stalls count)."""
    torch.set_num_threads(n_threads)
    x = torch.ones(PROBE_SHAPE, device=device).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(PROBE_SHAPE[1], PROBE_SHAPE[1], 3, 3, device=device)
    F.conv2d(x, weight, padding=1)
    start = time.perf_counter()
    for _ in range(THREAD_PROBE_RUNS):
        F.conv2d(x, weight, padding=1)
    return time.perf_counter() - start
