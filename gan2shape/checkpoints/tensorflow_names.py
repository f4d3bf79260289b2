"""NVIDIA's TensorFlow pickles of StyleGAN2: three networks (G, D, averaged G) whose variables are plain named arrays.

Each network carries source text that builds its graph; the published loader executes it. It is not needed: names and
shapes say enough. TensorFlow keeps kernels as [height, width, in, out], flips those of upsampling convolutions, and
adds one to the modulation's bias in code. Compared with no published numbers: shapes only.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gan2shape.checkpoints.pickle_machine import UnreadableError
from gan2shape.checkpoints.stored import StoredTensor
from gan2shape.checkpoints.unpickle import TENSORFLOW_NETWORK, ArrayClaim, Stub

MAX_DEPTH = 4  # of networks in networks
CONV, DENSE, ROW = (3, 2, 0, 1), (1, 0), (0,)
LAYERS = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}
CRITIC_LAYERS = {"FromRGB": "fromrgb", "Conv0": "conv0", "Conv1_down": "conv1", "Skip": "skip"}
IGNORED = ("lod", "dlatent_avg")


def flipped(weight: Tensor) -> Tensor:
    """A kernel turned by half a turn."""
    return weight.flip(2, 3)


def plus_one(bias: Tensor) -> Tensor:
    """The modulation's bias as it is used."""
    return bias + 1


PARTS = {  # our name, axes, edit
    "bias": ("bias", ROW, None),
    "noise_strength": ("noise_strength", (), None),
    "mod_weight": ("affine.weight", DENSE, None),
    "mod_bias": ("affine.bias", ROW, plus_one),
}


def tensorflow_networks(value: Any) -> list[Stub]:
    """The networks of a TensorFlow pickle, none if it is none."""
    members = value if isinstance(value, list | tuple) else [value]
    return [member for member in members if isinstance(member, Stub) and member.kind == TENSORFLOW_NETWORK]


def variables(network: Stub) -> dict[str, StoredTensor]:
    """Arrays of a network and its components, `synthesis/4x4/Conv/weight`."""
    found: dict[str, StoredTensor] = {}
    _collect(network, "", found, MAX_DEPTH)
    return found


def _collect(network: Stub, prefix: str, found: dict[str, StoredTensor], depth: int) -> None:
    own, components = network.state.get("variables"), network.state.get("components")
    for entry in own if isinstance(own, list) else ():
        if isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[0], str):
            array = entry[1].tensor if isinstance(entry[1], ArrayClaim) else None
            if array is not None:
                found[prefix + entry[0]] = array
    for name, component in components.items() if isinstance(components, dict) else ():
        if isinstance(component, Stub) and depth > 0:
            _collect(component, f"{prefix}{name}/", found, depth - 1)


def static_settings(network: Stub) -> Mapping[str, Any]:
    """The arguments that the network was built with."""
    kwargs = network.state.get("static_kwargs")
    return kwargs if isinstance(kwargs, dict) else {}


def tensorflow_generator(arrays: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Our names for a generator's variables. Raises UnreadableError unless it is an unconditional StyleGAN2."""
    if any("LayerEpilogue" in name or "StyleMod" in name or name.endswith("Const/bias") for name in arrays):
        raise UnreadableError("holds a StyleGAN network of the first version, which is not supported")
    if any("LabelConcat" in name for name in arrays):
        raise UnreadableError("holds a class-conditional TensorFlow network, which is not supported")
    renamed = {}
    for name, array in arrays.items():
        if match := re.fullmatch(r"mapping/Dense(\d\d?)/(weight|bias)", name):
            axes = DENSE if match[2] == "weight" else ROW
            renamed[f"mapping.fc{int(match[1])}.{match[2]}"] = array.permuted(axes)
        elif name == "synthesis/4x4/Const/const":
            renamed["synthesis.b4.const"] = array.permuted((1, 2, 3))
        elif match := re.fullmatch(r"synthesis/noise(\d\d?)", name):
            index = int(match[1])
            block = f"b{4 * 2 ** ((index + 1) // 2)}.conv{(index + 1) % 2}"
            renamed[f"synthesis.{block}.noise_const"] = array.permuted((2, 3))
        elif (match := re.fullmatch(r"synthesis/(\d{1,4})x\1/(\w+)/(\w+)", name)) and match[2] in LAYERS:
            _layer(renamed, f"synthesis.b{match[1]}.{LAYERS[match[2]]}", match[2], match[3], array)
        elif name not in IGNORED:
            raise UnreadableError("holds a TensorFlow network that is no StyleGAN2 generator")
    if "dlatent_avg" in arrays:
        renamed["mapping.w_avg"] = arrays["dlatent_avg"].permuted(ROW)
    return renamed


def tensorflow_discriminator(arrays: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Our names for a discriminator's variables."""
    renamed = {}
    for name, array in arrays.items():
        if match := re.fullmatch(r"4x4/Dense0/(weight|bias)", name):
            renamed[f"b4.fc.{match[1]}"] = array.permuted(DENSE if match[1] == "weight" else ROW)
        elif match := re.fullmatch(r"Output/(weight|bias)", name):
            renamed[f"b4.out.{match[1]}"] = array.permuted(DENSE if match[1] == "weight" else ROW)
        elif match := re.fullmatch(r"4x4/Conv/(weight|bias)", name):
            renamed[f"b4.conv.{match[1]}"] = array.permuted(CONV if match[1] == "weight" else ROW)
        elif (match := re.fullmatch(r"(\d{1,4})x\1/(\w+)/(weight|bias)", name)) and match[2] in CRITIC_LAYERS:
            axes = CONV if match[3] == "weight" else ROW
            renamed[f"b{match[1]}.{CRITIC_LAYERS[match[2]]}.{match[3]}"] = array.permuted(axes)
        elif name not in IGNORED:
            raise UnreadableError("holds a TensorFlow network that is no StyleGAN2 discriminator")
    return renamed


def _layer(renamed: dict[str, StoredTensor], prefix: str, layer: str, part: str, array: StoredTensor) -> None:
    if part == "weight":
        edit = flipped if layer in ("Conv0_up", "Skip") else None
        renamed[f"{prefix}.weight"] = array.permuted(CONV).edited(edit)
    elif part in PARTS:
        ours, axes, edit = PARTS[part]
        renamed[f"{prefix}.{ours}"] = array.permuted(axes).edited(edit)
    else:
        raise UnreadableError("holds a TensorFlow network that is no StyleGAN2 generator")
