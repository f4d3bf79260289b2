"""Our names for the variables of NVIDIA's TensorFlow networks.

TensorFlow keeps kernels as [height, width, in, out], flips those of upsampling convolutions, and
adds one to the modulation's bias in code. Compared with no published numbers: shapes only.
"""

import re
from collections.abc import Mapping

from gan2shape.checkpoints.errors import UnreadableError
from gan2shape.checkpoints.publishers_names import flipped, plus_one
from gan2shape.checkpoints.stored import StoredTensor

CONV, DENSE, ROW = (3, 2, 0, 1), (1, 0), (0,)
LAYERS = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}
CRITIC_LAYERS = {"FromRGB": "fromrgb", "Conv0": "conv0", "Conv1_down": "conv1", "Skip": "skip"}
IGNORED = ("lod", "dlatent_avg")
OLD_TORGB = re.compile(r"(?<=synthesis/)ToRGB_lod(\d)(?=/)")  # of networks that grew: the level counted from the finest


PARTS = {  # our name, axes, edit
    "bias": ("bias", ROW, None),
    "noise_strength": ("noise_strength", (), None),
    "mod_weight": ("affine.weight", DENSE, None),
    "mod_bias": ("affine.bias", ROW, plus_one),
}


def tensorflow_generator(arrays: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Our names for a generator's variables. Raises UnreadableError unless it is a StyleGAN2 that is known here."""
    if any("LayerEpilogue" in name or "StyleMod" in name or name.endswith("Const/bias") for name in arrays):
        raise UnreadableError("holds a StyleGAN network of the first version, which is not supported")
    if any("LabelConcat" in name for name in arrays):
        raise UnreadableError("holds a class-conditional TensorFlow network, which is not supported")
    renamed = {}
    for name, array in arrays.items():
        name = OLD_TORGB.sub(lambda match: _torgb_of_lod(match, arrays), name)
        if match := re.fullmatch(r"mapping/LabelEmbed/(weight|bias)", name):
            renamed[f"mapping.embed.{match[1]}"] = array.permuted(DENSE if match[1] == "weight" else ROW)
        elif match := re.fullmatch(r"mapping/Dense(\d\d?)/(weight|bias)", name):
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


def _torgb_of_lod(match: re.Match, arrays: Mapping[str, StoredTensor]) -> str:
    resolutions = [int(m[1]) for name in arrays if (m := re.match(r"synthesis/(\d{1,4})x\1/", name))]
    resolution = max(resolutions, default=0) >> int(match[1])
    return f"{resolution}x{resolution}/ToRGB"


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
