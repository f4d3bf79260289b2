"""Files as they are found, opened as data: torch's zip and old formats, plain pickles, safetensors.

The first bytes decide the format, not the name. Files are mapped into memory, so that a tensor costs memory
when it is read and not before. A zip is taken only as torch writes it: stored, not compressed, no part larger than the
file.
"""

import json
import mmap
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gan2shape.checkpoints.errors import DOWNLOAD_AGAIN, NoFileError, UnreadableError
from gan2shape.checkpoints.pickle_machine import PickleMachine
from gan2shape.checkpoints.stored import StoredTensor, is_index, is_index_tuple, packed_tensor
from gan2shape.checkpoints.unpickle import Allowed, read_legacy
from gan2shape.checkpoints.wrong_files import UNPACK, refuse_other_file, refuse_other_zip

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_PREFIX = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
PICKLE_PREFIX = b"\x80"
ZIP_HEADER_BYTES = 30  # of an entry's own header, without name and extra field
MAX_ENTRIES = 100_000
MAX_HEADER_BYTES = 10_000_000  # of safetensors
METADATA_KEY = "__metadata__"
SAFE_TYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def map_file(path: Path) -> memoryview:
    """The bytes of a regular file, read when they are used. Raises NoFileError where there is none."""
    try:
        if not path.exists():
            raise NoFileError("does not exist")
        if path.is_dir():
            raise NoFileError("is a folder", "give the file in it")
        if not path.is_file():  # a device or a pipe may never end
            raise NoFileError("is no file")
        if path.stat().st_size == 0:
            raise NoFileError("is empty", DOWNLOAD_AGAIN)
        with path.open("rb") as stream:
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle, in some versions
        cause = getattr(error, "strerror", None) or "the path cannot be used"
        raise NoFileError(f"cannot be opened ({cause.lower()})") from error


def read_container(data: memoryview) -> tuple[str, Any, dict[str, str]]:
    """Name of the format, its value with `StoredTensor`s for tensors, and the metadata of safetensors."""
    start = bytes(data[: len(LEGACY_PREFIX)])
    if start.startswith(ZIP_MAGIC):
        return "torch", read_zip(data), {}
    if start == LEGACY_PREFIX:
        return "torch (before 1.6)", read_legacy(data), {}
    if start[8:9] == b"{":
        tensors, metadata = read_safetensors(data)
        return "safetensors", tensors, metadata
    if start.startswith(PICKLE_PREFIX):
        return "pickle", PickleMachine(data, Allowed()).run(), {}
    refuse_other_file(data)
    raise AssertionError("refused above")


def read_zip(data: memoryview) -> Any:
    """The value of a file that `torch.save` wrote."""
    parts = zip_parts(data, refuse_other_zip)
    root = next(name[: -len("data.pkl")] for name in parts if name.endswith("/data.pkl"))
    if root.count("/") != 1:
        raise UnreadableError("is a zip archive, and torch did not write it", UNPACK)
    if bytes(parts.get(f"{root}byteorder", b"little")) != b"little":
        raise UnreadableError("was written on a big-endian machine")
    library = Allowed()
    value = PickleMachine(parts[f"{root}data.pkl"], library).run()
    for key, storage in library.storages.items():
        piece = parts.get(f"{root}data/{key}")
        if storage.dtype is not None and (piece is None or len(piece) != storage.n_bytes):
            raise UnreadableError("does not hold the numbers that it refers to", DOWNLOAD_AGAIN)
        storage.data = piece
    return value


def zip_parts(data: memoryview, check_names: Callable[[list[str]], None] = lambda names: None) -> dict[str, memoryview]:
    """Entries of a zip file by name, as views. Raises UnreadableError for compressed, overlapping or oversized ones;
    `check_names` may raise before that.
    """
    try:
        with zipfile.ZipFile(_Reader(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, struct.error, NotImplementedError, IndexError) as error:
        raise UnreadableError("is damaged or cut off", DOWNLOAD_AGAIN) from error
    check_names([entry.filename for entry in entries])
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
        raise UnreadableError("is a compressed zip archive, which torch does not write", UNPACK)
    if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > len(data):
        raise UnreadableError("claims more than it holds", DOWNLOAD_AGAIN)
    parts = {}
    for entry in entries:
        start = entry.header_offset
        header = bytes(data[start : start + ZIP_HEADER_BYTES]) if start >= 0 else b""
        if len(header) < ZIP_HEADER_BYTES or not header.startswith(ZIP_MAGIC):
            raise UnreadableError("is damaged or cut off", DOWNLOAD_AGAIN)
        start += ZIP_HEADER_BYTES + sum(struct.unpack("<HH", header[26:30]))
        piece = data[start : start + entry.file_size]
        if len(piece) != entry.file_size or entry.filename in parts:
            raise UnreadableError("is damaged or cut off", DOWNLOAD_AGAIN)
        parts[entry.filename] = piece
    return parts


class _Reader:
    """What `zipfile` needs of a file, over a view: its directory is at the end, nothing else is read."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.position = data, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + (0, self.position, len(self.data))[whence]
        if self.position < 0:
            raise OSError("before the start")
        return self.position

    def read(self, size: int = -1) -> bytes:
        end = len(self.data) if size < 0 else self.position + size
        piece = bytes(self.data[self.position : end])
        self.position += len(piece)
        return piece


def read_safetensors(data: memoryview) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file."""
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise UnreadableError("ends too early or claims more than it holds", DOWNLOAD_AGAIN)
    body = data[8 + length :]
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
        metadata = header.pop(METADATA_KEY, {})
        tensors = {str(name): _safe_tensor(entry, body) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnreadableError("has a damaged safetensors header") from error
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise UnreadableError("has a damaged safetensors header")
    return tensors, metadata


def _safe_tensor(entry: dict, body: memoryview) -> StoredTensor:
    start, end = entry["data_offsets"]
    shape = entry["shape"]
    if not (is_index(start) and is_index(end) and start <= end) or not is_index_tuple(tuple(shape)):
        raise ValueError("offsets or shape")
    if end > len(body):
        raise UnreadableError("is truncated (its header names more numbers than it holds)", DOWNLOAD_AGAIN)
    return packed_tensor(body[start:end], SAFE_TYPES[entry["dtype"]], tuple(shape))
