"""Numpy's arrays and numbers in pickles. Those of types that no weight has lose their contents."""

import math
from collections.abc import Callable
from typing import Any

import torch

from gan2shape.checkpoints.errors import UnreadableError
from gan2shape.checkpoints.inert import ArrayClaim, ArrayType, Global, Stub
from gan2shape.checkpoints.stored import ITEM_BYTES, Storage, StoredTensor, is_index_tuple, packed_tensor, stored_tensor

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


def array(state: Any) -> StoredTensor | None:
    """A numpy array's state: (version, shape, type, column-major?, bytes). None for types that no weight has."""
    if not isinstance(state, tuple) or len(state) != 5:
        raise UnreadableError("describes an array in an unknown way")
    _, shape, kind, is_column_major, data = state
    if not isinstance(kind, ArrayType) or kind.dtype is None:
        return None
    if not is_index_tuple(shape) or not isinstance(data, memoryview):
        raise UnreadableError("describes an array in an unknown way")
    if not is_column_major:
        return packed_tensor(data, kind.dtype, shape)
    if math.prod(shape) * ITEM_BYTES[kind.dtype] != len(data):
        raise UnreadableError("claims an array that is not as large as its numbers")
    storage = Storage(kind.dtype, math.prod(shape), data)
    return stored_tensor(storage, 0, shape, tuple(math.prod(shape[:i]) for i in range(len(shape))))


def array_type(code: Any = None) -> ArrayType:
    """An element type, by its code."""
    return ArrayType(NUMPY_TYPES.get(code.lstrip("<|=")) if isinstance(code, str) else None)


def array_type_of_state(kind: ArrayType, state: Any) -> ArrayType:
    """The type with its byte order: numbers of the other order are no weights."""
    is_swapped = isinstance(state, tuple) and len(state) > 1 and state[1] == ">"
    return ArrayType(None) if is_swapped else kind


def scalar(kind: Any = None, data: Any = None) -> StoredTensor | Stub:
    """A number as an array without axes."""
    if not isinstance(kind, ArrayType) or kind.dtype is None or not isinstance(data, memoryview):
        return Stub("a number of a type that no weight has")
    return packed_tensor(data, kind.dtype, ())


def latin_bytes(text: Any = None, encoding: Any = None) -> memoryview:
    """Bytes that old pickles write as text."""
    if not isinstance(text, str) or encoding != "latin1" or not all(ord(c) < 256 for c in text):
        raise UnreadableError("holds damaged text")
    return memoryview(text.encode("latin1"))


MAKERS: dict[Global, Callable[..., Any]] = {
    Global("numpy", "dtype"): array_type,
    Global("_codecs", "encode"): latin_bytes,
    **{Global(f"numpy.{core}.multiarray", "_reconstruct"): lambda *_: ArrayClaim() for core in ("core", "_core")},
    **{Global(f"numpy.{core}.multiarray", "scalar"): scalar for core in ("core", "_core")},
}
