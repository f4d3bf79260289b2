"""Files that try to take all memory or to never end."""

import io
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from tests.checkpoints.hostile_parts import called, pickled, text, writes, zipped

HUGE = 10_000_000_000


def tensor_from(storage: bytes, size: int) -> bytes:
    """A tensor of `size` values in a storage that the instructions make."""
    number = b"\x8a\x08" + struct.pack("<q", size)
    body = storage + b"K\x00" + number + b"\x85K\x01\x85\x89}t"
    return b"}" + text("G_ema") + text("torch._utils") + text("_rebuild_tensor_v2") + b"\x93(" + body + b"Rs"


def small_blob() -> bytes:
    stream = io.BytesIO()
    torch.save(torch.zeros(4).untyped_storage(), stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def large_tensor(marker: Path) -> bytes:
    """A tensor of ten thousand million values in a storage of sixteen bytes."""
    blob = small_blob()
    storage = called("torch.storage", "_load_from_bytes", b"B" + struct.pack("<I", len(blob)) + blob)
    return pickled(tensor_from(storage, HUGE))


def large_storage(marker: Path) -> bytes:
    """Persistent storage of ten thousand million values that is not there, in torch's zip format."""
    number = b"\x8a\x08" + struct.pack("<q", HUGE)
    kind = text("torch") + text("FloatStorage") + b"\x93"
    storage = b"(" + text("storage") + kind + text("0") + text("cpu") + number + b"tQ"
    return zipped({"a/data.pkl": pickled(tensor_from(storage, HUGE)), "a/data/0": b"\0" * 16})


def large_bytes(marker: Path) -> bytes:
    return pickled(b"\x8e" + struct.pack("<Q", HUGE))


def large_text(marker: Path) -> bytes:
    return pickled(b"\x8d" + struct.pack("<Q", HUGE))


def large_integer(marker: Path) -> bytes:
    return b"\x80\x04\x8b" + struct.pack("<i", 2**24) + b"\x01" * 2**24 + b"."


def zip_bomb(marker: Path) -> bytes:
    return zipped({"a/data.pkl": pickled(b"}"), "a/data/0": bytes(10**8)}, zipfile.ZIP_DEFLATED)


def overlapping_zip(marker: Path) -> bytes:
    """Directory entries that all point at the same large part."""
    names = {f"a/data/{i}": b"" for i in range(200)}
    data = bytearray(zipped({"a/data.pkl": pickled(b"}"), "a/big": bytes(10**6), **names}))
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        data[at + 20 : at + 28] = struct.pack("<II", 10**6, 10**6)
        data[at + 42 : at + 46] = struct.pack("<I", 0)
        at = data.find(b"PK\x01\x02", at + 4)
    return bytes(data)


def recursive(marker: Path) -> bytes:
    """A dictionary that contains itself."""
    return pickled(b"}q\x00" + text("G_ema") + b"h\x00s")


def billion_laughs(marker: Path) -> bytes:
    """Each dictionary holds the one before it ten times."""
    body = b"}" + text("x") + b"K\x01s\x94"
    for level in range(30):
        body += b"0}" + b"".join(text(f"k{i}") + b"h" + bytes([level]) + b"s" for i in range(10)) + b"\x94"
    return pickled(body)


def nested_lists(marker: Path) -> bytes:
    """The same with lists, in which networks are searched."""
    body = b"]K\x01a\x94"
    for level in range(30):
        body += b"0](" + (b"h" + bytes([level])) * 10 + b"e\x94"
    return pickled(body)


def shared_dictionary(marker: Path) -> bytes:
    """One long dictionary of numbers in ten thousand places."""
    items = b"".join(b"M" + struct.pack("<H", i) + b"N" for i in range(20_000))
    return pickled(b"]}(" + items + b"uq\x000(" + b"h\x00" * 10_000 + b"e")


def long_names(marker: Path) -> bytes:
    """A name of a million letters, for each of ten thousand arrays."""
    name = b"X" + struct.pack("<I", 10**6) + b"a" * 10**6
    kind = called("numpy", "dtype", text("f4"))
    array = text("numpy.core.multiarray") + text("scalar") + b"\x93" + kind + b"C\x04" + bytes(4) + b"\x86R"
    inner = b"".join(text(f"k{i}") + b"h\x01" for i in range(10_000))
    return pickled(array + b"q\x010}(" + inner + b"uq\x000}" + name + b"}" + name + b"h\x00ss")


def object_of_objects(marker: Path) -> bytes:
    """Objects of unknown classes, each made of the one before it, again and again."""
    body = text("package") + text("Thing") + b"\x93q\x00)\x81q\x01"
    for _ in range(10_000):
        body += b"0h\x00h\x01h\x01\x86Rq\x01"
    return pickled(body)


def object_that_holds_itself(marker: Path) -> bytes:
    """As state, as an item, and as a part."""
    body = text("package") + text("Thing") + b"\x93)\x81q\x00}" + text("self") + b"h\x00sb"
    return pickled(body + text("item") + b"h\x00s" + b"h\x00a")


def persistent_object_of_persistent_objects(marker: Path) -> bytes:
    """A package's persistence without end, with source text."""
    name = text("evil.torch_utils.persistence") + text("_reconstruct_persistent_obj") + b"\x93"
    meta = b"}(" + text("class_name") + text("Generator") + text("module_src") + text(writes(marker))
    return pickled(b"}" + (name + meta + text("state") + b"}" + text("x")) * 50 + b"N" + b"su\x85R" * 50)


def deep_key(marker: Path) -> bytes:
    """A key whose hash takes two to the fortieth steps."""
    return pickled(b"}" + b"K\x01" + b"2\x86" * 40 + b"Ns")


def repeated_work(marker: Path) -> bytes:
    """One long dictionary, copied again and again."""
    items = b"".join(b"M" + struct.pack("<H", i) + b"N" for i in range(20_000))
    name = text("collections") + text("OrderedDict") + b"\x93q\x01"
    return pickled(b"}(" + items + b"uq\x000" + name + b"0" + b"h\x01h\x00\x85R0" * 20_000 + b"N")


def colliding_keys(marker: Path) -> bytes:
    """Integers of one hash."""
    modulus = sys.hash_info.modulus
    keys = (b"\x8a\x0c" + (i * modulus).to_bytes(12, "little", signed=True) + b"N" for i in range(30_000))
    return pickled(b"}(" + b"".join(keys) + b"u")


def endless_text(marker: Path) -> bytes:
    return b"\x80\x02c" + b"a" * 10**6


def safetensors_claim(marker: Path) -> bytes:
    header = b'{"x":{"dtype":"F32","shape":[2500000000],"data_offsets":[0,10000000000]}}'
    return struct.pack("<Q", len(header)) + header


def safetensors_header(marker: Path) -> bytes:
    return struct.pack("<Q", HUGE) + b"{" * 1000


def safetensors_depth(marker: Path) -> bytes:
    return struct.pack("<Q", 200_000) + b'{"a":' + b"[" * 199_995


def own_format_with_huge_network(marker: Path) -> bytes:
    """Our own format, asking for networks of a billion channels and layers."""
    from safetensors.torch import save

    configuration = '{"resolution": 8, "channels": [1000000, 1000000], "n_mapping": 1000000}'
    metadata = {"format": "gan2shape-prior-1", "generator": configuration}
    return save({"generator/x": torch.zeros(1)}, metadata)


BOMBS: tuple[Callable[[Path], bytes], ...] = (
    large_tensor,
    large_storage,
    large_bytes,
    large_text,
    large_integer,
    zip_bomb,
    overlapping_zip,
    recursive,
    billion_laughs,
    nested_lists,
    shared_dictionary,
    long_names,
    object_of_objects,
    object_that_holds_itself,
    persistent_object_of_persistent_objects,
    deep_key,
    repeated_work,
    colliding_keys,
    endless_text,
    safetensors_claim,
    safetensors_header,
    safetensors_depth,
    own_format_with_huge_network,
)
