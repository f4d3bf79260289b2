"""Latents from elsewhere: .pt, .npy, .npz and .safetensors files with a w or W+, read as data.

Accepted: D numbers (w), L x D (one row per layer, W+), the same with a leading 1; alone, or in a dictionary (of
dictionaries) under `latent`, `w`, `latents` or `wplus`, or as the only array. Nothing in a file is executed, and
no more is read than the file holds.
"""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.checkpoints.containers import map_file, read_container, zip_parts
from gan2shape.checkpoints.contents import flatten
from gan2shape.checkpoints.errors import UnreadableError
from gan2shape.checkpoints.open import plain_errors
from gan2shape.core.errors import UserError

NAMES = ("latent", "w", "latents", "wplus", "w_plus", "dlatents", "projected_w")  # in order of preference
NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK"
LARGEST = 2**24  # numbers in a file of latents
DAMAGED_ZIP = (  # what zipfile raises for damaged files
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    ValueError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    IndexError,
    struct.error,
)
DAMAGED_ARRAY = (  # what numpy raises for damaged headers, which it reads as Python literals
    ValueError,
    TypeError,
    SyntaxError,
    TokenError,
    EOFError,
    OverflowError,
    MemoryError,
    RecursionError,
)
REMEDY = "give a .pt, .npy, .npz or .safetensors file with one w"


def read_latent(path: str | Path, n_layers: int, w_dim: int) -> Float[Tensor, "1 D"] | Float[Tensor, "1 L D"]:
    """The latent in a file, as w [1, D] or W+ [1, L, D], float32. Raises UserError where there is none that fits."""
    path = Path(path)
    with plain_errors(path, REMEDY):
        latent = _latent(map_file(path))
        if not torch.isfinite(latent).all():
            raise UnreadableError("holds numbers that are not finite")
    if latent.shape[:1] == (1,) and latent.ndim > 1:
        latent = latent[0]
    if latent.shape == (w_dim,) or latent.shape == (1, w_dim):
        return latent.reshape(1, w_dim)
    if latent.shape == (n_layers, w_dim):
        return latent[None]
    sizes = " x ".join(map(str, latent.shape)) or "one"
    raise UserError(
        f"The latent in {path} is {sizes} numbers, but this generator takes {w_dim} or {n_layers} x {w_dim}: "
        "give a latent of this generator."
    )


def _latent(data: memoryview) -> Tensor:
    if bytes(data[: len(NPY_MAGIC)]) == NPY_MAGIC:
        return _npy(data)
    if bytes(data[:2]) == ZIP_MAGIC:
        arrays = _npz(data)
        if arrays:
            return _npy(arrays[chosen(arrays)])
    found = flatten(_named(read_container(data)[1])).tensors
    tensors = {name: tensor for name, tensor in found.items() if not _is_in_a_list(name)} or found
    tensor = tensors[chosen(tensors)]
    if tensor.n_values > LARGEST:
        raise UnreadableError("holds far more numbers than a latent has")
    return tensor.read().float()


def _named(value: Any) -> Any:
    """A bare tensor as a dictionary; of a list, its first member."""
    value = value[0] if isinstance(value, list | tuple) and value else value
    return value if isinstance(value, dict) else {NAMES[0]: value}


def _is_in_a_list(name: str) -> bool:
    """Noise maps, say."""
    return any(piece.isdecimal() for piece in name.split("."))


def chosen(named: dict) -> str:
    """Which entry is the latent. Raises UnreadableError where that is not clear."""
    for wanted in NAMES:
        for name in named:
            if name.rpartition(".")[2] == wanted:
                return name
    if len(named) != 1:
        raise UnreadableError("holds no latent" if not named else f"holds {len(named)} arrays, none named latent")
    return next(iter(named))


def _npz(data: memoryview) -> dict[str, memoryview]:
    """Arrays of a .npz by name; none if it is another kind of zip. Compressed ones are unpacked within bounds."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
                raise UnreadableError("is compressed in an unusual way")
            if any(entry.compress_type == zipfile.ZIP_DEFLATED for entry in entries):
                return {entry.filename[:-4]: _unpacked(archive, entry) for entry in entries}
    except DAMAGED_ZIP as error:
        raise UnreadableError("is a damaged or truncated zip file") from error
    return {name[:-4]: part for name, part in zip_parts(data).items() if name.endswith(".npy")} if entries else {}


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> memoryview:
    limit = 8 * LARGEST
    with archive.open(entry) as stream:
        part = stream.read(min(entry.file_size, limit) + 1)
    if len(part) > limit:
        raise UnreadableError("holds far more numbers than a latent has")
    return memoryview(part)


def _npy(data: memoryview) -> Tensor:
    """One array of plain numbers."""
    try:
        stream = io.BytesIO(data[:4096])
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, column_major, dtype = read_header(stream)
        n_values = int(np.prod(shape, dtype=object))
        if dtype.hasobject or dtype.kind not in "fiu" or not 0 < n_values <= LARGEST:
            raise UnreadableError("holds no plain numbers")
        values = np.frombuffer(data, dtype, n_values, stream.tell())
    except DAMAGED_ARRAY as error:
        raise UnreadableError("is a damaged array file") from error
    return torch.from_numpy(values.reshape(shape, order="F" if column_major else "C").astype(np.float32))
