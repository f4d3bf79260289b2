"""The names that mean something in a checkpoint, and the inert thing each one becomes.

Nothing here looks a name up. Objects of a published network's own classes become `Stub`s that keep their state
(parameters, buffers, submodules) and constructor arguments; their source text, which the published loader executes, is
dropped unread. Tensors become claims on the file (`stored.StoredTensor`). Whatever else lies beside the weights
(counters, dates, configurations, optimisers) becomes a `Stub` as well, which means nothing.
"""

from collections.abc import Callable
from typing import Any

import torch

from gan2shape.checkpoints.errors import UnreadableError
from gan2shape.checkpoints.inert import ArrayClaim, ArrayType, Global, Stub
from gan2shape.checkpoints.numpy_pickles import MAKERS as NUMPY_MAKERS
from gan2shape.checkpoints.numpy_pickles import array, array_type_of_state
from gan2shape.checkpoints.pickle_machine import Budget, Library, PickleMachine, plain_key
from gan2shape.checkpoints.stored import Storage, StoredTensor, is_index, is_index_tuple, stored_tensor

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
OTHER_STORAGE_TYPES = {  # bytes of a value: of no weight, but they lie between weights in old files
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
    "QUInt8Storage": 1,
    "QInt8Storage": 1,
    "QInt32Storage": 4,
    "QUInt4x2Storage": 1,
    "QUInt2x4Storage": 1,
    "UntypedStorage": 1,
}
TENSORFLOW_NETWORK = "tflib.network.Network"  # in whatever package
TYPED = Global("torch._tensor", "_rebuild_from_type_v2")
RECONSTRUCT = "_reconstruct_persistent_obj"
LOAD_FROM_BYTES = Global("torch.storage", "_load_from_bytes")
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first value of files in torch's old format
LEGACY_VERSION = 1001
MAX_STORAGES = 100_000


class Allowed(Library):
    """The names that mean something; `Library` of the pickle machine. Storages of torch files come from `storages`.

    `is_blob`: the pickle lies in a byte string of another one, where no further byte string is opened.
    """

    def __init__(self, budget: Budget | None = None, is_blob: bool = False) -> None:
        self.budget, self.is_blob = budget or Budget(), is_blob
        self.storages: dict[str, Storage] = {}

    def call(self, name: Global, args: tuple) -> Any:
        if name == LOAD_FROM_BYTES:
            return self.storage_of_blob(args)
        if name == TYPED and args and isinstance(args[0], Global):  # a tensor with attributes or of another class
            tensor_args = args[2] if len(args) > 2 and isinstance(args[2], tuple) else ()
            return self.call(args[0], tensor_args) if args[0] in TENSOR_MAKERS else Stub(str(args[0]))
        if name.name == RECONSTRUCT and name.module.rpartition(".")[2] == "persistence":  # in whatever package
            return _stub(*args[:1])
        make = MAKERS.get(name)
        if make is None:
            return Stub(f"{name.module}.{name.name}", args=args)
        return make(*args[: MAX_ARGUMENTS.get(name, 1)]) if args else make()

    def fill(self, value: Any, state: Any) -> Any:
        if isinstance(value, Stub):
            slots = state if isinstance(state, tuple) else (state,)  # (attributes, slots)
            for attributes in slots:
                if isinstance(attributes, dict):
                    value.state.update(attributes)
        elif isinstance(value, ArrayClaim):
            value.tensor = array(state)
        elif isinstance(value, ArrayType):
            return array_type_of_state(value, state)
        return value  # a state dict's own attributes, say

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
        if isinstance(key, tuple) and len(key) >= 2 and key[0] == "module" and isinstance(key[1], Global):
            return key[1]  # a class with its source text, in old files
        if not (isinstance(key, tuple) and len(key) >= 5 and key[0] == "storage" and isinstance(key[1], Global)):
            raise UnreadableError("refers to something outside itself")
        _, kind, name, _, n_values = key[:5]
        dtype = STORAGE_TYPES.get(kind.name) if kind.module in ("torch", "torch.storage") else None
        if not is_index(n_values) or not isinstance(name, str):
            raise UnreadableError(f"holds numbers of an unknown kind ({kind})")
        if len(self.storages) > MAX_STORAGES or (len(key) > 5 and key[5] is not None):
            raise UnreadableError("lays its numbers out in an unknown way")
        storage = self.storages.setdefault(name, Storage(dtype, n_values, None, OTHER_STORAGE_TYPES.get(kind.name, 1)))
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
        storage.data = rest.take(storage.n_bytes)
    return values[3]


def _stub(meta: Any = None) -> Stub:
    """An object of a published network: its class name and state; the source text is not kept."""
    if not isinstance(meta, dict) or not isinstance(meta.get("class_name"), str):
        raise UnreadableError("describes an object in an unknown way")
    state = meta.get("state")
    return Stub(meta["class_name"], state if isinstance(state, dict) else {})


def _tensor(*args: Any) -> StoredTensor | Stub:
    if args and isinstance(args[0], Storage) and args[0].dtype is None:
        return Stub("a tensor of a type that no weight has")
    return stored_tensor(*args[:4]) if len(args) >= 4 else stored_tensor(None, None, None, None)


def _parameter(data: Any = None) -> Any:
    if not isinstance(data, StoredTensor | Stub):
        raise UnreadableError("describes a parameter that is no tensor")
    return data


def _mapping(items: Any = ()) -> dict:
    """A dictionary, also from a list of pairs."""
    if isinstance(items, dict):
        return dict(items)
    if not isinstance(items, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in items):
        raise UnreadableError("is damaged (no pairs where pairs are needed)")
    return {plain_key(key): value for key, value in items}


def _default_mapping(*args: Any) -> dict:
    """A `defaultdict`: its items follow."""
    return _mapping(args[1]) if len(args) > 1 else {}


def _set(items: Any = ()) -> set:
    if not isinstance(items, list | tuple | set):
        raise UnreadableError("is damaged (a set of nothing)")
    return set(map(plain_key, items))


def _size(sizes: Any = ()) -> tuple:
    return sizes if is_index_tuple(sizes) else ()


def _class_object(kind: Any = None) -> Any:
    """`copyreg`'s way to make an object of a class without calling its constructor."""
    if kind in (Global("collections", "OrderedDict"), Global("dnnlib.util", "EasyDict"), Global("builtins", "dict")):
        return {}
    return Stub(f"{kind.module}.{kind.name}") if isinstance(kind, Global) else Stub("object")


MAKERS: dict[Global, Callable[..., Any]] = {
    Global("collections", "OrderedDict"): _mapping,
    Global("collections", "defaultdict"): _default_mapping,
    Global("builtins", "dict"): _mapping,
    Global("dnnlib.util", "EasyDict"): _mapping,
    Global("dnnlib", "EasyDict"): _mapping,
    Global("builtins", "set"): _set,
    Global("__builtin__", "set"): _set,
    Global("copyreg", "_reconstructor"): _class_object,
    Global("copy_reg", "_reconstructor"): _class_object,
    Global("torch._utils", "_rebuild_tensor"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Global("torch._utils", "_rebuild_parameter"): _parameter,
    Global("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    Global("torch", "Size"): _size,
    **NUMPY_MAKERS,
}
TENSOR_MAKERS = {Global("torch._utils", f"_rebuild_{kind}") for kind in ("tensor", "tensor_v2", "parameter")}
MAX_ARGUMENTS = {  # further arguments (hooks, flags) are dropped
    **{name: 4 for name in MAKERS if name.name.startswith("_rebuild_tensor")},
    **{name: 2 for name in MAKERS if name.name in ("scalar", "encode", "defaultdict")},
}
