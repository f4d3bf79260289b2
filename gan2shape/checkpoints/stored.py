"""Tensors that still lie in a file: their claims are checked before a byte of them is copied.

A claim (`StoredTensor`) names a storage, an offset, sizes and strides. It may not reach beyond its storage nor have
more elements than the storage holds, so that a small file cannot ask for a large tensor.
"""

import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gan2shape.checkpoints.errors import UnreadableError

MAX_DIMENSIONS = 8
LARGE_BYTES = 2**20  # of a tensor after whose copy the file's pages are let go
ITEM_BYTES = {
    torch.float32: 4,
    torch.float64: 8,
    torch.float16: 2,
    torch.bfloat16: 2,
    torch.int64: 8,
    torch.int32: 4,
    torch.int16: 2,
    torch.int8: 1,
    torch.uint8: 1,
    torch.bool: 1,
}


@dataclass(slots=True)
class Storage:
    """A run of values in the file. `data` is None until its place is known (in the old format it follows later).

    dtype: None for types that no weight has, of `other_bytes` each.
    """

    dtype: torch.dtype | None
    n_values: int
    data: memoryview | None = None
    other_bytes: int = 1

    @property
    def n_bytes(self) -> int:
        """Bytes in the file."""
        return self.n_values * (self.other_bytes if self.dtype is None else ITEM_BYTES[self.dtype])


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that lies in a storage."""

    storage: Storage
    dtype: torch.dtype
    offset: int  # values
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # values
    edit: Callable[[Tensor], Tensor] | None = None  # of the values when they are read; keeps the shape

    def permuted(self, axes: tuple[int, ...]) -> "StoredTensor":
        """The same numbers with the axes in another order; axes of one element may be left out."""
        if (
            any(axis not in range(len(self.shape)) for axis in axes)
            or math.prod(n for axis, n in enumerate(self.shape) if axis not in axes) != 1
        ):
            raise UnreadableError("holds weights of the wrong shape")
        pick = lambda values: tuple(values[axis] for axis in axes)  # noqa: E731
        return replace(self, shape=pick(self.shape), strides=pick(self.strides))

    def edited(self, edit: Callable[[Tensor], Tensor] | None) -> "StoredTensor":
        """The same with an edit of its values."""
        return replace(self, edit=edit)

    @property
    def n_values(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of the elements as stored."""
        return self.n_values * ITEM_BYTES[self.dtype]

    def read(self) -> Tensor:
        """A copy in memory, row-major, with the stored type."""
        if self.storage.data is None:
            raise UnreadableError("does not hold the numbers that it refers to")
        size = ITEM_BYTES[self.dtype]
        if not self.n_values:
            return torch.empty(self.shape, dtype=self.dtype)
        extent = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        piece = self.storage.data[self.offset * size : (self.offset + extent) * size]
        if len(piece) != extent * size:
            raise UnreadableError("does not hold the numbers that it refers to")
        values = torch.from_numpy(np.frombuffer(piece, dtype=np.uint8).copy())
        if len(piece) > LARGE_BYTES:
            let_go(piece)
        if self.dtype is torch.bool:
            values = values.ne(0)
        values = values if self.dtype is torch.bool else values.view(self.dtype)
        values = values.as_strided(self.shape, self.strides).contiguous()
        return values if self.edit is None else self.edit(values)


def let_go(piece: memoryview) -> None:
    """Drop the pages of a mapped file from this process's memory; they come back when they are read again."""
    advice = getattr(mmap, "MADV_DONTNEED", None)  # not on Windows, where mapped pages are the system's to take
    if advice is not None and isinstance(piece.obj, mmap.mmap):
        piece.obj.madvise(advice)


def stored_tensor(storage: object, offset: object, shape: object, strides: object) -> StoredTensor:
    """The claim of a pickled tensor. Raises UnreadableError if it reaches beyond its storage."""
    if not isinstance(storage, Storage) or not is_index(offset) or not is_index_tuple(shape, strides):
        raise UnreadableError("describes a tensor that makes no sense")
    tensor = StoredTensor(storage, storage.dtype, offset, tuple(shape), tuple(strides))
    last = offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if tensor.n_values and (last >= storage.n_values or tensor.n_values > storage.n_values):
        raise UnreadableError("claims a tensor that is larger than its numbers")
    return tensor


def packed_tensor(data: memoryview, dtype: torch.dtype, shape: tuple[int, ...]) -> StoredTensor:
    """A row-major tensor that fills `data`."""
    strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    tensor = StoredTensor(Storage(dtype, len(data) // ITEM_BYTES[dtype], data), dtype, 0, shape, strides)
    if tensor.n_bytes != len(data):
        raise UnreadableError("claims an array that is not as large as its numbers")
    return tensor


def is_index(value: object) -> bool:
    """An int that is no bool, not negative, not absurd."""
    return type(value) is int and 0 <= value < 2**48


def is_index_tuple(*values: object) -> bool:
    """Tuples of such ints, of one length."""
    return all(isinstance(v, tuple) and len(v) <= MAX_DIMENSIONS and all(map(is_index, v)) for v in values) and (
        len({len(v) for v in values}) == 1  # type: ignore[arg-type]
    )
