"""Which device and which number format pay on this machine."""

import time

import torch
from torch.nn import functional as F

from gan2shape.records import UserError

PROBE_SHAPE = (8, 64, 32, 32)  # activations of the timing probe
PROBE_RUNS = 4
PROBE_GAIN = 1.2  # bf16 must be this much faster to be chosen


def choose_device(name: str) -> torch.device:
    """ "auto": CUDA if there is any, else the CPU. Raises UserError if the named device is absent."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(name.split(":")[0], False):
        raise UserError(f"device {name!r} is not available on this machine: use cpu or auto.")
    return torch.device(name)


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
    """float32 or bfloat16 for autocast. "auto" asks the GPU, or times the CPU (bf16 is emulated, hence slow, on many)."""
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
