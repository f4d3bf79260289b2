"""One set of names for the weights of every StyleGAN2: from a file's value to named tensors, and from foreign names to
ours.

Ours are those of the published PyTorch implementation (`synthesis.b8.conv0.affine.weight`); rosinality's are counted
lists (`convs.0.conv.modulation.weight`). Everything a file holds is first flattened to dotted names, so that it does
not matter in which dictionary or object the networks were put; a network is found by the names that only it has.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import torch

from gan2shape.checkpoints.pickle_machine import UnreadableError
from gan2shape.checkpoints.stored import StoredTensor
from gan2shape.checkpoints.unpickle import ArrayClaim, Stub
from gan2shape.nn.layers import fir_kernel

MAX_DEPTH = 40  # of dictionaries in dictionaries; a module takes three
MAX_ENTRIES = 50_000  # a published file has about two thousand
FILTER_TOLERANCE = 1e-6
FILTER_NAMES = ("resample_filter", "kernel")
MODULE_PARTS = ("_parameters", "_buffers", "_modules")
INIT_KWARGS = "_init_kwargs"
MAX_RESOLUTION = 4096

FOREIGN_KINDS = (  # what else people have, by a name that only it uses
    (r"(^|\.)synthesis\.(L\d+_|input\.freqs)", "a StyleGAN3 network (or StyleGAN-XL)"),
    (r"(^|\.)(backbone\.synthesis|renderer)\.", "an EG3D network"),
    (r"(^|\.)progression\.\d+\.", "a StyleGAN network of the first version"),
    (r"(^|\.)(shared\.weight|blocks\.0\.0\.conv1\.)", "a BigGAN network"),
    (r"(^|\.)(diffusion_model|down_blocks|unet)\.", "a diffusion model"),
    (r"(^|\.)encoder\.", "an encoder without its generator"),
)


@dataclass
class Contents:
    """Everything in a file, by dotted name."""

    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    plain: dict[str, Any] = field(default_factory=dict)  # numbers, words and constructor arguments
    n_entries: int = 0


def flatten(value: Any) -> Contents:
    """Dotted names of all tensors and plain values in dictionaries and stubs."""
    contents = Contents()
    _flatten(value, "", contents, MAX_DEPTH)
    return contents


def _flatten(value: Any, name: str, contents: Contents, depth: int) -> None:
    contents.n_entries += 1
    if depth == 0 or contents.n_entries > MAX_ENTRIES:
        raise UnreadableError("nests its parts without end")
    value = value.tensor if isinstance(value, ArrayClaim) else value
    if isinstance(value, StoredTensor):
        contents.tensors[name] = value
    elif isinstance(value, Stub):
        _flatten(value.state, name, contents, depth - 1)
    elif isinstance(value, dict):
        for key, part in value.items():
            if key == INIT_KWARGS:
                contents.plain[joined(name, key)] = part
            elif key in MODULE_PARTS and isinstance(part, dict):
                _flatten(part, name, contents, depth - 1)
            else:
                _flatten(part, joined(name, str(key)), contents, depth - 1)
    elif isinstance(value, str | int | float | None):
        contents.plain[name] = value


def joined(*parts: str) -> str:
    """A dotted name."""
    return ".".join(part for part in parts if part)


def find_network(contents: Contents, tails: tuple[str, ...], preferred: tuple[str, ...]) -> tuple[str, str] | None:
    """Prefix of the network that has a tensor with one of the `tails`, and that tail; averaged weights come first."""
    found = [
        (name[: -len(tail)], tail)
        for name in contents.tensors
        for tail in tails
        if name == tail or name.endswith("." + tail)
    ]

    def rank(item: tuple[str, str]) -> tuple[int, int]:
        last = item[0].rstrip(".").rpartition(".")[2]
        return preferred.index(last) if last in preferred else len(preferred), len(item[0])

    return min(found, key=rank, default=None)


def part(tensors: dict[str, StoredTensor], prefix: str) -> dict[str, StoredTensor]:
    """Tensors below a prefix, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def foreign_kind(contents: Contents) -> str | None:
    """What a file without a StyleGAN2 generator holds, where its names tell."""
    for pattern, kind in FOREIGN_KINDS:
        if any(re.search(pattern, name) for name in contents.tensors):
            return kind
    return None


def without_filters(state: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The state without its constant blur kernels. Raises UnreadableError unless they are the [1, 3, 3, 1] filter."""
    kept = {}
    for name, tensor in state.items():
        if not name.endswith(FILTER_NAMES):
            kept[name] = tensor
            continue
        kernel = tensor.read().float() if tensor.shape == (4, 4) else torch.zeros(4, 4)
        # Some buffers carry the gain of upsampling: only the form of the filter is compared.
        if not torch.allclose(kernel / kernel.sum(), fir_kernel(), atol=FILTER_TOLERANCE):
            raise UnreadableError("resamples with another filter than [1, 3, 3, 1], which is not supported")
    return kept


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
        if name.endswith(FILTER_NAMES) or name == "latent_avg":
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
        return f"synthesis.b{_side((index + 1) // 2)}.conv{(index + 1) % 2}.noise_const", (2, 3)
    match = re.fullmatch(r"(conv1|to_rgb1|convs\.(\d\d?)|to_rgbs\.(\d\d?))\.(.+)", name)
    if match is None or match[4] not in LAYER:
        raise UnreadableError("names its weights unlike any StyleGAN2 that is known here")
    ours, axes = LAYER[match[4]]
    if match[2] is not None:
        layer = f"b{_side(1 + int(match[2]) // 2)}.conv{int(match[2]) % 2}"
    elif match[3] is not None:
        layer = f"b{_side(1 + int(match[3]))}.torgb"
    else:
        layer = "b4.conv1" if match[1] == "conv1" else "b4.torgb"
    return f"synthesis.{layer}.{ours}", axes


def _side(octave: int) -> int:
    side = 4 * 2**octave
    if side > MAX_RESOLUTION:
        raise UnreadableError(f"draws more than {MAX_RESOLUTION} pixels across, which is not supported")
    return side


def rosinality_discriminator(state: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Our names for a discriminator in rosinality's. Raises UnreadableError for a name that does not belong there."""
    blocks = {int(m[1]) for name in state if (m := re.match(r"convs\.(\d\d?)\.", name))}
    n_blocks = max(blocks, default=0)
    renamed = {}
    for name, tensor in state.items():
        if name.endswith(FILTER_NAMES):
            continue
        if match := re.fullmatch(r"convs\.0\.\d\.(weight|bias)", name):
            ours = f"b{_side(n_blocks)}.fromrgb.{match[1]}"
        elif match := re.fullmatch(r"convs\.(\d\d?)\.(conv1|conv2|skip)\.\d\.(weight|bias)", name):
            ours = f"b{_side(n_blocks + 1 - int(match[1]))}.{BLOCK_CONVS[match[2]]}.{match[3]}"
        elif match := re.fullmatch(r"final_conv\.\d\.(weight|bias)", name):
            ours = f"b4.conv.{match[1]}"
        elif match := re.fullmatch(r"final_linear\.([01])\.(weight|bias)", name):
            ours = f"b4.{('fc', 'out')[int(match[1])]}.{match[2]}"
        else:
            raise UnreadableError("names its weights unlike any StyleGAN2 that is known here")
        renamed[ours] = tensor
    return renamed
