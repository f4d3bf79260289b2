"""The allow-list: the names that checkpoints need, and the inert thing each one becomes.

Nothing here looks a name up. Objects of a published network's own classes become `Stub`s that keep their state
(parameters, buffers, submodules) and constructor arguments; their source text, which the published loader executes, is
dropped unread. Tensors become claims on the file (`stored.StoredTensor`). Any other name ends the reading.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from gan2shape.checkpoints.pickle_machine import (
    Budget,
    Global,
    Library,
    PickleMachine,
    UnreadableError,
    plain_key,
)
from gan2shape.checkpoints.stored import (
    ITEM_BYTES,
    Storage,
    StoredTensor,
    is_index,
    is_index_tuple,
    packed_tensor,
    stored_tensor,
)

STORAGE_TYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
NUMPY_TYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "b1": torch.bool,
}
INERT = {  # classes whose objects only carry attributes
    Global("argparse", "Namespace"),
    Global("builtins", "object"),
    Global("pathlib", "PosixPath"),
    Global("pathlib", "WindowsPath"),
    Global("torch", "device"),
    Global("dnnlib.tflib.network", "Network"),
}
TENSORFLOW_NETWORK = "dnnlib.tflib.network.Network"
LOAD_FROM_BYTES = Global("torch.storage", "_load_from_bytes")
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first value of files in torch's old format
LEGACY_VERSION = 1001
MAX_STORAGES = 100_000


@dataclass(slots=True)
class Stub:
    """What is left of an object: the name of its class and its attributes."""

    kind: str
    state: dict = field(default_factory=dict)


@dataclass(slots=True)
class ArrayClaim:
    """A numpy array whose contents come as state."""

    tensor: StoredTensor | None = None


@dataclass(frozen=True, slots=True)
class ArrayType:
    """A numpy element type."""

    dtype: torch.dtype


class Allowed(Library):
    """The names that may occur; `Library` of the pickle machine. Storages of torch files come from `storages`.

    `is_blob`: the pickle lies in a byte string of another one, where no further byte string is opened.
    """

    def __init__(self, budget: Budget | None = None, is_blob: bool = False) -> None:
        self.budget, self.is_blob = budget or Budget(), is_blob
        self.storages: dict[str, Storage] = {}

    def call(self, name: Global, args: tuple) -> Any:
        if name in INERT:
            return Stub(f"{name.module}.{name.name}")
        if name == LOAD_FROM_BYTES:
            return self.storage_of_blob(args)
        make = MAKERS.get(name)
        if make is None:
            raise UnreadableError(f"asks for {name}, which no checkpoint needs, and nothing was executed")
        return make(*args[: MAX_ARGUMENTS.get(name, 1)]) if args else make()

    def fill(self, value: Any, state: Any) -> Any:
        if isinstance(value, Stub) and isinstance(state, dict):
            value.state.update(state)
        elif isinstance(value, ArrayClaim):
            value.tensor = _array(state)
        elif not isinstance(value, dict | ArrayType):  # a state dict's own attributes, a type's byte order
            raise UnreadableError("sets the state of something that has none")
        return value

    def storage_of_blob(self, args: tuple) -> Storage:
        """A storage in a byte string: a whole file in torch's old format that holds nothing but one storage.

        torch's own function of that name runs the byte string as a full pickle, which would give everything away.
        """
        if self.is_blob or len(args) != 1 or not isinstance(args[0], memoryview):
            raise UnreadableError("hides something else where its numbers should be")
        storage = read_legacy(args[0], Allowed(self.budget, is_blob=True))
        if not isinstance(storage, Storage):
            raise UnreadableError("hides something else where its numbers should be")
        return storage

    def persistent(self, key: Any) -> Any:
        """A storage: ("storage", type, key, device, number of values, …)."""
        if not (isinstance(key, tuple) and len(key) >= 5 and key[0] == "storage" and isinstance(key[1], Global)):
            raise UnreadableError("refers to something outside itself")
        _, kind, name, _, n_values = key[:5]
        dtype = STORAGE_TYPES.get(kind.name) if kind.module in ("torch", "torch.storage") else None
        if dtype is None or not is_index(n_values) or not isinstance(name, str):
            raise UnreadableError(f"holds numbers of an unknown kind ({kind})")
        if len(self.storages) > MAX_STORAGES or (len(key) > 5 and key[5] is not None):
            raise UnreadableError("lays its numbers out in an unknown way")
        storage = self.storages.setdefault(name, Storage(dtype, n_values))
        if (storage.dtype, storage.n_values) != (dtype, n_values):
            raise UnreadableError("describes the same numbers in two ways")
        return storage


def read_legacy(data: memoryview, library: Allowed | None = None) -> Any:
    """The value of a file (or a blob) in torch's old format: five pickles, then the numbers."""
    library, position, values = library or Allowed(), 0, []
    for _ in range(5):
        machine = PickleMachine(data, library, position)
        values.append(machine.run())
        position = machine.position
        if len(values) == 1 and values[0] != LEGACY_MAGIC:
            raise UnreadableError("is no torch file")
    keys = values[4]
    if values[1] != LEGACY_VERSION or not isinstance(keys, list):
        raise UnreadableError("is of an unknown version of torch's format")
    if not isinstance(values[2], dict) or values[2].get("little_endian") is False:
        raise UnreadableError("was written on a big-endian machine")
    rest = PickleMachine(data, library, position)
    for key in keys:
        storage = library.storages.get(plain_key(key))
        if storage is None or storage.data is not None or rest.number("<q") != storage.n_values:
            raise UnreadableError("does not hold the numbers that it refers to")
        storage.data = rest.take(storage.n_values * ITEM_BYTES[storage.dtype])
    return values[3]


def _stub(meta: Any = None) -> Stub:
    """An object of a published network: its class name and state; the source text is not kept."""
    if not isinstance(meta, dict) or not isinstance(meta.get("class_name"), str):
        raise UnreadableError("describes an object in an unknown way")
    state = meta.get("state")
    return Stub(meta["class_name"], state if isinstance(state, dict) else {})


def _tensor(*args: Any) -> StoredTensor:
    return stored_tensor(*args[:4]) if len(args) >= 4 else stored_tensor(None, None, None, None)


def _parameter(data: Any = None) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise UnreadableError("describes a parameter that is no tensor")
    return data


def _mapping(items: Any = ()) -> dict:
    """A dictionary, also from a list of pairs."""
    if isinstance(items, dict):
        return dict(items)
    if not isinstance(items, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in items):
        raise UnreadableError("is damaged (no pairs where pairs are needed)")
    return {plain_key(key): value for key, value in items}


def _set(items: Any = ()) -> set:
    if not isinstance(items, list | tuple | set):
        raise UnreadableError("is damaged (a set of nothing)")
    return set(map(plain_key, items))


def _size(sizes: Any = ()) -> tuple:
    if not is_index_tuple(sizes):
        raise UnreadableError("describes a tensor that makes no sense")
    return sizes


def _class_object(kind: Any = None) -> Any:
    """`copyreg`'s way to make an object of a class without calling its constructor."""
    if kind in (Global("collections", "OrderedDict"), Global("dnnlib.util", "EasyDict"), Global("builtins", "dict")):
        return {}
    if isinstance(kind, Global) and kind in INERT:
        return Stub(f"{kind.module}.{kind.name}")
    raise UnreadableError(f"asks for {kind if isinstance(kind, Global) else 'an object'}, which no checkpoint needs")


def _array_type(code: Any = None) -> ArrayType:
    if not isinstance(code, str) or code.lstrip("<|=") not in NUMPY_TYPES:
        raise UnreadableError("holds an array of an unknown type")
    return ArrayType(NUMPY_TYPES[code.lstrip("<|=")])


def _array(state: Any) -> StoredTensor:
    """A numpy array's state: (version, shape, type, column-major?, bytes)."""
    if not isinstance(state, tuple) or len(state) != 5:
        raise UnreadableError("describes an array in an unknown way")
    _, shape, kind, is_column_major, data = state
    if not isinstance(kind, ArrayType) or not is_index_tuple(shape) or not isinstance(data, memoryview):
        raise UnreadableError("describes an array in an unknown way")
    if is_column_major and len(shape) > 1:
        raise UnreadableError("holds a column-major array")
    return packed_tensor(data, kind.dtype, shape)


def _scalar(kind: Any = None, data: Any = None) -> Any:
    if not isinstance(kind, ArrayType) or not isinstance(data, memoryview):
        raise UnreadableError("describes a number in an unknown way")
    return packed_tensor(data, kind.dtype, ()).read().item()


def _latin_bytes(text: Any = None, encoding: Any = None) -> memoryview:
    """Bytes that old pickles write as text."""
    if not isinstance(text, str) or encoding != "latin1" or not all(ord(c) < 256 for c in text):
        raise UnreadableError("holds damaged text")
    return memoryview(text.encode("latin1"))


MAKERS: dict[Global, Callable[..., Any]] = {
    Global("collections", "OrderedDict"): _mapping,
    Global("builtins", "dict"): _mapping,
    Global("dnnlib.util", "EasyDict"): _mapping,
    Global("dnnlib", "EasyDict"): _mapping,
    Global("builtins", "set"): _set,
    Global("__builtin__", "set"): _set,
    Global("copyreg", "_reconstructor"): _class_object,
    Global("copy_reg", "_reconstructor"): _class_object,
    Global("torch_utils.persistence", "_reconstruct_persistent_obj"): _stub,
    Global("torch._utils", "_rebuild_tensor"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Global("torch._utils", "_rebuild_parameter"): _parameter,
    Global("torch", "Size"): _size,
    Global("numpy", "dtype"): _array_type,
    Global("_codecs", "encode"): _latin_bytes,
    **{Global(f"numpy.{core}.multiarray", "_reconstruct"): lambda *_: ArrayClaim() for core in ("core", "_core")},
    **{Global(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}
MAX_ARGUMENTS = {  # further arguments (hooks, flags) are dropped
    **{name: 4 for name in MAKERS if name.name.startswith("_rebuild_tensor")},
    **{name: 2 for name in MAKERS if name.name in ("scalar", "encode")},
}
