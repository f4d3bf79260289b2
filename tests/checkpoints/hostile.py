"""Hostile checkpoints: bytes that try to run something, to take all memory or to never end. Every one is refused."""

import io
import pickle
import struct
import types
from collections.abc import Callable
from pathlib import Path

import torch

from tests.checkpoints import lookalike
from tests.checkpoints.hostile_bombs import BOMBS
from tests.checkpoints.hostile_parts import SMALL, called, pickled, saved, text, writes


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


def state_of_a_name(marker: Path) -> bytes:
    """An allowed class itself is filled."""
    return pickled(text("collections") + text("OrderedDict") + b"\x93}" + text("__call__") + b"Nsb")


def call_with_keywords(marker: Path) -> bytes:
    """Keywords for a class that would run them."""
    keywords = b"}" + text("command") + text(f"touch {marker}") + b"s"
    return pickled(text("package") + text("Runner") + b"\x93)" + keywords + b"\x92")


def code_under_another_name(marker: Path) -> bytes:
    """Functions of other packages that evaluate text."""
    calls = [("numpy.testing._private.utils", "runstring"), ("torch.hub", "load"), ("timeit", "timeit")]
    body = b"".join(called(module, name, text(writes(marker))) + b"0" for module, name in calls)
    return pickled(body + b"}")


def not_a_checkpoint(marker: Path) -> bytes:
    return b"hello" * 100


def numpy_objects(marker: Path) -> bytes:
    return pickled(called("numpy", "dtype", text("O8")))


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
    state_of_a_name,
    call_with_keywords,
    code_under_another_name,
    not_a_checkpoint,
    numpy_objects,
    one_storage_for_all,
    not_finite,
    wrong_shape,
    missing_weight,
    other_filter,
    truncated_zip,
    truncated_pickle,
    truncated_old,
    plain_object,
    *BOMBS,
)
