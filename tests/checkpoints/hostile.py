"""Hostile checkpoints: bytes that try to run something, to take all memory or to never end. Every one is refused."""

import io
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.checkpoints import lookalike

HUGE = 10_000_000_000
SMALL = (8, (4, 4), 6, 1)  # resolution, widths, latent size, mapping layers of a rosinality network


def text(value: str) -> bytes:
    """A string as pickle instructions."""
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def called(module: str, name: str, argument: bytes) -> bytes:
    """`module.name(argument)`, protocol 4."""
    return text(module) + text(name) + b"\x93" + argument + b"\x85R"


def pickled(body: bytes) -> bytes:
    """A protocol-4 pickle of `body`."""
    return b"\x80\x04" + body + b"."


def writes(marker: Path) -> str:
    """Python source that leaves a mark."""
    return f"open({str(marker)!r}, 'w').close()"


def module_src(marker: Path) -> bytes:
    """A published network whose source text writes a file; everything else about it is fine but for its weights."""
    network = lookalike.nvidia_network({"b4.const": torch.zeros(4, 4, 4)}, "Generator", {}, writes(marker))
    return lookalike.nvidia_pickle({"G_ema": network})


def system(marker: Path) -> bytes:
    return pickled(called("os", "system", text(f"touch {marker}")))


def posix_system_protocol_2(marker: Path) -> bytes:
    argument = f"touch {marker}".encode()
    return b"\x80\x02cposix\nsystem\nX" + struct.pack("<I", len(argument)) + argument + b"\x85R."


def evaluate(marker: Path) -> bytes:
    return pickled(called("builtins", "eval", text(writes(marker))))


def old_text_protocol(marker: Path) -> bytes:
    return f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()


def instance_instruction(marker: Path) -> bytes:
    return b"\x80\x02(" + text(f"touch {marker}") + b"ios\nsystem\n."


def dotted_name(marker: Path) -> bytes:
    """A path through an allowed module."""
    return pickled(called("torch.storage", "io.os.system", text(f"touch {marker}")))


def aliased_name(marker: Path) -> bytes:
    """An allowed name's own module handed out under another name."""
    return pickled(called("torch._utils", "_rebuild_tensor_v2.__globals__", text(writes(marker))))


def getattr_chain(marker: Path) -> bytes:
    module = called("builtins", "__import__", text("os"))
    return pickled(text("builtins") + text("getattr") + b"\x93" + module + text("system") + b"\x86R")


def called_result(marker: Path) -> bytes:
    """The result of an allowed call is called."""
    return pickled(called("collections", "OrderedDict", b"]") + text(writes(marker)) + b"\x85R")


def memo_swap(marker: Path) -> bytes:
    """A harmless name is memoised, and its place in the memo taken by another."""
    harmless = text("collections") + text("OrderedDict") + b"\x93q\x00"
    evil = text("os") + text("system") + b"\x93q\x00"
    return pickled(harmless + b"0" + evil + b"0h\x00" + text(f"touch {marker}") + b"\x85R")


def memo_far_away(marker: Path) -> bytes:
    return pickled(b"}" + b"r\xff\xff\xff\xff" + b"r\xff\xff\xff\x7f")


def state_setter(marker: Path) -> bytes:
    """State for an object that has none."""
    return pickled(text("os") + text("system") + b"\x93" + b"}" + b"b")


def extension(marker: Path) -> bytes:
    return pickled(b"\x82\x01")


def torch_payload(marker: Path, is_zip: bool) -> bytes:
    """What a careless `torch.save` of an object with `__reduce__` makes."""

    class Evil:
        def __reduce__(self) -> tuple:
            return eval, (writes(marker),)

    stream = io.BytesIO()
    torch.save({"g_ema": Evil()}, stream, _use_new_zipfile_serialization=is_zip)
    return stream.getvalue()


def storage_blob(marker: Path) -> bytes:
    """A payload in the bytes that a storage is loaded from; torch runs such bytes as a full pickle."""
    blob = torch_payload(marker, is_zip=False)
    argument = b"B" + struct.pack("<I", len(blob)) + blob
    return pickled(called("torch.storage", "_load_from_bytes", argument))


def blob_in_blob(marker: Path) -> bytes:
    inner = storage_blob(marker)
    argument = b"B" + struct.pack("<I", len(inner)) + inner
    return pickled(called("torch.storage", "_load_from_bytes", argument))


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


def zipped(parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return stream.getvalue()


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


def not_a_checkpoint(marker: Path) -> bytes:
    return b"hello" * 100


def numpy_objects(marker: Path) -> bytes:
    return pickled(called("numpy", "dtype", text("O8")))


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


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def one_storage_for_all(marker: Path) -> bytes:
    """A small file whose large weights are all the same numbers."""
    value = lookalike.rosinality_state(8, (64, 64), 64, 4)
    shared = torch.zeros(max(t.numel() for t in value["g_ema"].values()))
    for name, tensor in value["g_ema"].items():
        if "kernel" not in name:
            value["g_ema"][name] = shared[: tensor.numel()].view(tensor.shape)
    return saved({"g_ema": value["g_ema"]})


def not_finite(marker: Path) -> bytes:
    value = lookalike.rosinality_state(*SMALL)
    value["g_ema"]["conv1.conv.weight"][0, 1, 2, 0, 0] = float("nan")
    return saved(value)


def wrong_shape(marker: Path) -> bytes:
    value = lookalike.rosinality_state(*SMALL)
    value["g_ema"]["convs.1.conv.modulation.weight"] = torch.zeros(5, 6)
    return saved(value)


def wrong_critic(marker: Path) -> bytes:
    value = lookalike.rosinality_state(*SMALL)
    value["d"]["final_conv.0.weight"] = torch.zeros(4, 7, 3, 3)
    return saved(value)


def missing_weight(marker: Path) -> bytes:
    value = lookalike.rosinality_state(*SMALL)
    del value["g_ema"]["to_rgbs.0.conv.weight"]
    return saved(value)


def other_filter(marker: Path) -> bytes:
    value = lookalike.rosinality_state(*SMALL)
    value["g_ema"]["convs.0.conv.blur.kernel"] = torch.ones(4, 4)
    return saved(value)


def truncated_zip(marker: Path) -> bytes:
    return saved(lookalike.rosinality_state(*SMALL))[:-5000]


def truncated_pickle(marker: Path) -> bytes:
    return module_src(marker)[:-300]


def truncated_old(marker: Path) -> bytes:
    stream = io.BytesIO()
    torch.save(lookalike.rosinality_state(*SMALL), stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()[:-50]


def torch_zip_payload(marker: Path) -> bytes:
    return torch_payload(marker, is_zip=True)


def torch_old_payload(marker: Path) -> bytes:
    return torch_payload(marker, is_zip=False)


def plain_object(marker: Path) -> bytes:
    return pickle.dumps(types.SimpleNamespace(g_ema=1))


FILES: tuple[Callable[[Path], bytes], ...] = (
    module_src,
    system,
    posix_system_protocol_2,
    evaluate,
    old_text_protocol,
    instance_instruction,
    dotted_name,
    aliased_name,
    getattr_chain,
    called_result,
    memo_swap,
    memo_far_away,
    state_setter,
    extension,
    torch_zip_payload,
    torch_old_payload,
    storage_blob,
    blob_in_blob,
    large_tensor,
    large_storage,
    large_bytes,
    large_text,
    large_integer,
    zip_bomb,
    overlapping_zip,
    recursive,
    billion_laughs,
    deep_key,
    repeated_work,
    colliding_keys,
    endless_text,
    not_a_checkpoint,
    numpy_objects,
    safetensors_claim,
    safetensors_header,
    safetensors_depth,
    own_format_with_huge_network,
    one_storage_for_all,
    not_finite,
    wrong_shape,
    wrong_critic,
    missing_weight,
    other_filter,
    truncated_zip,
    truncated_pickle,
    truncated_old,
    plain_object,
)
