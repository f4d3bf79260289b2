"""A pretended accelerator for machines without one: its tensors hold CPU data, and mixing devices is an error.

    with pretended_device() as watch:
        made = work(device=DEVICE)
    assert watch.counts() == {}

A `Watch` fails where CUDA would: operands on two devices (numbers excepted, and indices, which CUDA takes from the
CPU), a random number generator of another device, NumPy views. It also notes where the host has to wait for the
device: a value that is read, a shape that depends on values, a copy that is not asynchronous.
"""

import collections
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

import gan2shape

NAME = "pretended"
PACKAGE = str(Path(gan2shape.__file__).parent)
aten = torch.ops.aten
COPIES = {"copy_", "_to_copy", "_foreach_copy_"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
COUNTED = {aten.repeat_interleave.Tensor, aten.repeat_interleave.self_Tensor}
READS = {"_local_scalar_dense", "equal", "is_nonzero"}
SHAPED_BY_VALUES = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount"}


class MixedDevicesError(RuntimeError):
    """What CUDA refuses with "Expected all tensors to be on the same device"."""


class PretendedTensor(torch.Tensor):
    """A tensor that claims to be on the pretended device; `held` is its data, on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "PretendedTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=torch.device(NAME, 0), requires_grad=False,
        )  # fmt: skip
        made.held = held
        return made

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"PretendedTensor({self.held!r})"

    def tolist(self) -> list:
        """As CUDA does it: through a copy to the CPU, which is noted."""
        return self.cpu().tolist()

    def new_tensor(self, data: object, *, dtype: torch.dtype | None = None, device: object = None) -> torch.Tensor:
        """As CUDA does it: built on the CPU, then copied (torch would build it without asking this class)."""
        return torch.tensor(data, dtype=dtype or self.dtype).to(self.device if device is None else device)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {}, None)


@dataclass(frozen=True)
class Wait:
    """One place where the host waited."""

    kind: str  # "read", "shape", "upload" or "download"
    place: str  # package file and line
    function: str


def _place() -> tuple[str, str]:
    """File and line, and function, of the innermost frame of the package; of the caller's file if there is none."""
    frame, outside = sys._getframe(1), ("elsewhere", "")
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE):
            return f"{Path(name).relative_to(PACKAGE).as_posix()}:{frame.f_lineno}", frame.f_code.co_name
        if "site-packages" not in name and not name.endswith("devices.py") and outside[0] == "elsewhere":
            outside = (f"{Path(name).name}:{frame.f_lineno}", frame.f_code.co_name)
        frame = frame.f_back
    return outside


def _is_pretended(device: object) -> bool:
    return device is not None and torch.device(device).type == NAME


def wrapped(value: object) -> object:
    """Plain tensors as those of the pretended device, in lists and tuples too."""
    if isinstance(value, torch.Tensor):
        return value if isinstance(value, PretendedTensor) else PretendedTensor(value)
    return type(value)(map(wrapped, value)) if type(value) in (list, tuple) else value


def held(value: object) -> object:
    """The CPU data of pretended tensors, in lists and tuples too."""
    if isinstance(value, PretendedTensor):
        return value.held
    return type(value)(map(held, value)) if isinstance(value, list | tuple) else value


def tensors_of(values: Iterable) -> Iterator[torch.Tensor]:
    """The tensors among operands, those in lists too."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_of(value)


def run(func, args, kwargs, watch: "Watch | None"):
    """Run an operation on the data of its operands, after the checks that CUDA makes."""
    tensors = [*tensors_of(args), *tensors_of(kwargs.values())]
    name = func.overloadpacket.__name__
    ours = [t for t in tensors if isinstance(t, PretendedTensor)]
    others = [t for t in tensors if not isinstance(t, PretendedTensor) and t.ndim > 0]
    target = kwargs.get("device")
    if target is None and not ours:
        return func(*args, **kwargs)
    if ours and others and name not in COPIES:
        if name not in INDEXING or not isinstance(args[0], PretendedTensor):
            shapes = [(str(t.device), tuple(t.shape)) for t in tensors]
            raise MixedDevicesError(f"{func} at {_place()[0]} has operands on two devices: {shapes}")
        if watch is not None:
            watch.note("upload")  # indices on the CPU
    rng = kwargs.get("generator")
    if rng is not None and (ours or _is_pretended(target)):
        raise MixedDevicesError(f"{func} at {_place()[0]} takes random numbers of {rng.device} on the pretended device")
    if watch is not None:
        _note_waits(func, name, args, kwargs, ours, others, watch)
    to_cpu = target is not None and not _is_pretended(target)
    inner = {key: torch.device("cpu") if key == "device" and value is not None else value
             for key, value in kwargs.items()}  # fmt: skip
    plain = held(args)
    out = func(*plain, **{key: held(value) for key, value in inner.items()})
    if name == "_to_copy" and out is plain[0]:
        out = out.clone()
    if to_cpu or name in READS:
        return out
    if name in COPIES and ours and args[0] is not ours[0] and not isinstance(args[0], (list, tuple, PretendedTensor)):
        return args[0]  # a copy to the CPU
    result = wrapped(out)
    return return_and_correct_aliasing(func, args, kwargs, result) if ours else result


def _note_waits(func, name, args, kwargs, ours, others, watch: "Watch") -> None:
    if name in READS:
        watch.note("read")
    elif name in SHAPED_BY_VALUES or (func in COUNTED and kwargs.get("output_size") is None):
        watch.note("shape")
    elif name in INDEXING:
        indices = args[1]
        is_fill = name.lstrip("_").startswith("index_put") and args[2].numel() == 1  # becomes masked_fill
        if any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices) and not is_fill:
            watch.note("shape")
    elif name == "_to_copy" and not kwargs.get("non_blocking", False):
        target = kwargs.get("device")
        source = args[0]
        if target is not None and _is_pretended(target) and not isinstance(source, PretendedTensor):
            watch.note("upload")
        elif target is not None and not _is_pretended(target) and isinstance(source, PretendedTensor):
            watch.note("download")
    elif name == "copy_" and not (len(args) > 2 and args[2]) and not kwargs.get("non_blocking", False):
        into, source = isinstance(args[0], PretendedTensor), isinstance(args[1], PretendedTensor)
        if into != source:
            watch.note("upload" if into else "download")


class Watch(TorchDispatchMode):
    """Lets the pretended device work, and notes where the host waits for it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping it would import it, which takes five seconds

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[Wait] = []

    def note(self, kind: str) -> None:
        """Remember a wait at the present place."""
        self.noted.append(Wait(kind, *_place()))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {}, self)

    def counts(self) -> collections.Counter:
        """How often the host waited, by kind, place and function."""
        return collections.Counter((wait.kind, wait.place, wait.function) for wait in self.noted)


class _Backend:
    """What torch needs of a backend's module; `seeds` are those that the device's own random numbers were given."""

    seeds: ClassVar[list[int]] = []

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        self.seeds.append(seed)

    def device_count(self) -> int:
        return 1

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


_LIBRARIES: list[torch.library.Library] = []  # they end what they registered when they are collected


def _register() -> bool:
    """Give torch the device's name, once a process. False where this torch cannot."""
    from torch.utils import backend_registration

    if hasattr(torch, NAME):
        return True
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        return False
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Backend())
    # Autocast leaves every operation as it is, so that code under it can run.
    _LIBRARIES.append(torch.library.Library("_", "IMPL", "AutocastPrivateUse1"))
    _LIBRARIES[0].fallback(torch.library.fallthrough_kernel)
    return True


IS_POSSIBLE = _register()
SEEDS = _Backend.seeds
DEVICE = torch.device(NAME, 0) if IS_POSSIBLE else None


class _Construction(TorchFunctionMode):
    """`torch.tensor(values, device=...)` as CUDA does it: built on the CPU, then copied."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and _is_pretended(device):
            return func(*args, **{key: value for key, value in kwargs.items() if key != "device"}).to(device)
        return func(*args, **kwargs)


@contextmanager
def pretended_device() -> Iterator[Watch]:
    """The pretended device is there within the block."""
    with _Construction(), Watch() as watch:
        yield watch
