"""Names of further publishers' StyleGAN2 generators: BasicSR and mmgeneration into rosinality's, genforce into ours.

Taken from their public code. All keep rosinality's or TensorFlow's numbers under other names; genforce's upsampling
kernels are those of TensorFlow (rotated by 180 degrees), and it adds one to the modulation's bias in code.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from gan2shape.checkpoints.contents import COUNTERS, FILTER_NAMES
from gan2shape.checkpoints.errors import UnreadableError
from gan2shape.checkpoints.rosinality_names import block_resolution
from gan2shape.checkpoints.stored import StoredTensor

State = Mapping[str, StoredTensor]
Renames = tuple[tuple[str, str], ...]

BASICSR: Renames = (  # the whole name, and rosinality's
    (r"style_mlp\.(\d\d?)\.(weight|bias)", r"style.\1.\2"),
    (r"constant_input\.weight", r"input.input"),
    (r"noises\.noise(\d\d?)", r"noises.noise_\1"),
    (r"style_(conv1|convs\.\d\d?)\.weight", r"\1.noise.weight"),
    (r"style_(conv1|convs\.\d\d?)\.activate\.bias", r"\1.activate.bias"),
    (r"style_(conv1|convs\.\d\d?)\.modulated_conv\.(weight|modulation\.weight|modulation\.bias)", r"\1.conv.\2"),
    (r"(to_rgb1|to_rgbs\.\d\d?)\.modulated_conv\.(weight|modulation\.weight|modulation\.bias)", r"\1.conv.\2"),
    (r"(to_rgb1|to_rgbs\.\d\d?)\.bias", r"\1.bias"),
)
MMGENERATION: Renames = (
    (r"style_mapping\.(\d\d?)\.linear\.weight(?:_orig)?", r"style.\1.weight"),
    (r"style_mapping\.(\d\d?)\.bias", r"style.\1.bias"),
    (r"constant_input\.input", r"input.input"),
    (r"injected_noise_(\d\d?)", r"noises.noise_\1"),
    (r"(conv1|convs\.\d\d?)\.noise_injector\.weight", r"\1.noise.weight"),
    (r"(conv1|convs\.\d\d?)\.activate\.bias", r"\1.activate.bias"),
    (r"(conv1|convs\.\d\d?|to_rgb1|to_rgbs\.\d\d?)\.conv\.weight(?:_orig)?", r"\1.conv.weight"),
    (r"(\w+|\w+\.\d\d?)\.conv\.style_modulation\.linear\.weight(?:_orig)?", r"\1.conv.modulation.weight"),
    (r"(\w+|\w+\.\d\d?)\.conv\.style_modulation\.bias", r"\1.conv.modulation.bias"),
    (r"(to_rgb1|to_rgbs\.\d\d?)\.bias", r"\1.bias"),
)
GENFORCE_LAYER = {
    "weight": ("weight", None),
    "bias": ("bias", None),
    "style.weight": ("affine.weight", None),
    "style.bias": ("affine.bias", None),
    "noise_strength": ("noise_strength", ()),
    "noise": ("noise_const", (2, 3)),
}


def renamed(state: State, renames: Renames) -> dict[str, StoredTensor]:
    """The state in rosinality's names. Raises UnreadableError for a name that does not belong there."""
    found = {}
    for name, tensor in state.items():
        if name.endswith((*FILTER_NAMES, *COUNTERS)):
            continue
        ours = next((re.sub(old, new, name) for old, new in renames if re.fullmatch(old, name)), None)
        if ours is None:
            raise UnreadableError("names its weights unlike any StyleGAN2 that is known here")
        found[ours] = tensor
    return found


def genforce_generator(state: State) -> dict[str, StoredTensor]:
    """Our names for a generator in genforce's. Raises UnreadableError for a name that does not belong there."""
    found = {}
    for name, tensor in state.items():
        if name.endswith((*FILTER_NAMES, *COUNTERS)):
            continue
        if name == "mapping.label_weight" or name.startswith("mapping.LabelEmbed."):
            raise UnreadableError("holds a class-conditional network in genforce's layout, which is not supported")
        if match := re.fullmatch(r"mapping\.dense(\d\d?)\.(weight|bias)", name):
            found[f"mapping.fc{match[1]}.{match[2]}"] = tensor
        elif name == "truncation.w_avg":
            found["mapping.w_avg"] = tensor
        elif name == "synthesis.early_layer.const":
            found["synthesis.b4.const"] = tensor.permuted((1, 2, 3))
        elif (match := re.fullmatch(r"synthesis\.(layer|output)(\d\d?)\.(.+)", name)) and match[3] in GENFORCE_LAYER:
            _genforce_layer(found, match[1], int(match[2]), match[3], tensor)
        else:
            raise UnreadableError("names its weights unlike any StyleGAN2 that is known here")
    return found


def _genforce_layer(found: dict[str, StoredTensor], kind: str, index: int, name: str, tensor: StoredTensor) -> None:
    ours, axes = GENFORCE_LAYER[name]
    tensor = tensor if axes is None else tensor.permuted(axes)
    if name == "style.bias":
        tensor = tensor.edited(plus_one)
    if kind == "output":
        found[f"synthesis.b{block_resolution(index)}.torgb.{ours}"] = tensor
        return
    is_upsampling = index % 2 == 1
    if name == "weight" and is_upsampling:
        tensor = tensor.edited(flipped)
    found[f"synthesis.b{block_resolution((index + 1) // 2)}.conv{(index + 1) % 2}.{ours}"] = tensor


def flipped(weight: Tensor) -> Tensor:
    """A kernel rotated by 180 degrees."""
    return weight.flip(2, 3)


def plus_one(bias: Tensor) -> Tensor:
    """The modulation's bias as it is used."""
    return bias + 1
