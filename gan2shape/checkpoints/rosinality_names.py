"""Our names for the weights of networks in rosinality's names: counted lists (`convs.0.conv.modulation.weight`).

Ours are those of the published PyTorch implementation (`synthesis.b8.conv0.affine.weight`).
"""

import re

from gan2shape.checkpoints.contents import COUNTERS, FILTER_NAMES
from gan2shape.checkpoints.errors import UnreadableError
from gan2shape.checkpoints.stored import StoredTensor

MAX_RESOLUTION = 4096

# rosinality: (pattern, our name, axes kept). `{r}` is the resolution, `{c}` the convolution of the block.
LAYER = {
    "conv.weight": ("weight", (1, 2, 3, 4)),
    "conv.modulation.weight": ("affine.weight", (0, 1)),
    "conv.modulation.bias": ("affine.bias", (0,)),
    "noise.weight": ("noise_strength", ()),
    "activate.bias": ("bias", (0,)),
    "bias": ("bias", (1,)),
}
BLOCK_CONVS = {"conv1": "conv0", "conv2": "conv1", "skip": "skip"}


def rosinality_generator(state: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Our names for a generator in rosinality's. Raises UnreadableError for a name that does not belong there."""
    renamed = {}
    for name, tensor in state.items():
        if name.endswith((*FILTER_NAMES, *COUNTERS)) or name == "latent_avg":
            continue
        ours, axes = _rosinality_name(name)
        renamed[ours] = tensor.permuted(axes if axes is not None else tuple(range(len(tensor.shape))))
    return renamed


def _rosinality_name(name: str) -> tuple[str, tuple[int, ...] | None]:
    if match := re.fullmatch(r"style\.([1-9]\d?)\.(weight|bias)", name):
        return f"mapping.fc{int(match[1]) - 1}.{match[2]}", None
    if name == "input.input":
        return "synthesis.b4.const", (1, 2, 3)
    if match := re.fullmatch(r"noises\.noise_(\d\d?)", name):
        index = int(match[1])
        return f"synthesis.b{block_resolution((index + 1) // 2)}.conv{(index + 1) % 2}.noise_const", (2, 3)
    match = re.fullmatch(r"(conv1|to_rgb1|convs\.(\d\d?)|to_rgbs\.(\d\d?))\.(.+)", name)
    if match is None or match[4] not in LAYER:
        raise UnreadableError("names its weights unlike any StyleGAN2 that is known here")
    ours, axes = LAYER[match[4]]
    if match[2] is not None:
        layer = f"b{block_resolution(1 + int(match[2]) // 2)}.conv{int(match[2]) % 2}"
    elif match[3] is not None:
        layer = f"b{block_resolution(1 + int(match[3]))}.torgb"
    else:
        layer = "b4.conv1" if match[1] == "conv1" else "b4.torgb"
    return f"synthesis.{layer}.{ours}", axes


def block_resolution(octave: int) -> int:
    """Resolution of the images after so many doublings. Raises UnreadableError for absurd ones."""
    found = 4 * 2**octave
    if found > MAX_RESOLUTION:
        raise UnreadableError(f"generates more than {MAX_RESOLUTION} pixels across, which is not supported")
    return found


def rosinality_discriminator(state: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Our names for a discriminator in rosinality's. Raises UnreadableError for a name that does not belong there."""
    blocks = {int(m[1]) for name in state if (m := re.match(r"convs\.(\d\d?)\.", name))}
    n_blocks = max(blocks, default=0)
    renamed = {}
    for name, tensor in state.items():
        if name.endswith((*FILTER_NAMES, *COUNTERS)):
            continue
        if match := re.fullmatch(r"convs\.0\.\d\.(weight|bias)", name):
            ours = f"b{block_resolution(n_blocks)}.fromrgb.{match[1]}"
        elif match := re.fullmatch(r"convs\.(\d\d?)\.(conv1|conv2|skip)\.\d\.(weight|bias)", name):
            ours = f"b{block_resolution(n_blocks + 1 - int(match[1]))}.{BLOCK_CONVS[match[2]]}.{match[3]}"
        elif match := re.fullmatch(r"final_conv\.\d\.(weight|bias)", name):
            ours = f"b4.conv.{match[1]}"
        elif match := re.fullmatch(r"final_linear\.([01])\.(weight|bias)", name):
            ours = f"b4.{('fc', 'out')[int(match[1])]}.{match[2]}"
        else:
            raise UnreadableError("names its weights unlike any StyleGAN2 that is known here")
        renamed[ours] = tensor
    return renamed
