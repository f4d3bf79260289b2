"""The last blocks of a synthesis network, run at a resolution below their own.

Where images are wanted at a lower resolution, a block beyond it matters only through the area average of what it adds.
It cannot simply be left out: in our packs, the image so far differs from the average of the full one by a tenth of the
range of values and more, because the last blocks carry contrast and colour as well as detail. So these blocks are run
on coarse features, which stand for the average of the fine ones. Kernels whose taps would lie between pixels are spread
over the pixels around them; upsampling becomes the blur that it leaves in an average. For linear layers on smooth
features that is exact. What is lost is the average of a nonlinear function of fine features: the function of their
average stands in its place. How much that is has to be measured on each generator (`prior/coarse.py`).

A block one octave beyond costs a quarter to a half of its own arithmetic, each further one a quarter of that.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.core.devices import upload
from gan2shape.core.images import resized
from gan2shape.nn.generator import DrawBlock, Drawn, GeneratorConfig, Noise, SynthesisBlock, drawn
from gan2shape.nn.layers import LEAKY_SLOPE, Style, SynthesisLayer, modulation_gain, style_of

# The area average of a map that was doubled bilinearly, at the coarse pixels: (1, 6, 1) / 8 in each direction.
AVERAGE_OF_DOUBLED = (0.125, 0.75, 0.125)


def narrowed(weight: Float[Tensor, "O I 3 3"], octaves: int) -> Float[Tensor, "O I 3 3"]:
    """The kernel with its taps 2^-octaves pixels apart, each spread linearly over the two pixels around it."""
    for _ in range(octaves):
        for axis in (2, 3):
            before, at, after = weight.unbind(axis)
            weight = torch.stack([before / 2, (before + after) / 2 + at, after / 2], axis)
    return weight


def average_of_doubled(x: Float[Tensor, "B C H W"], repeats_border: bool) -> Float[Tensor, "B C H W"]:
    """What doubling the resolution bilinearly and averaging over 2 x 2 pixels leaves of a map; zeros lie beyond the
    border unless it repeats.
    """
    taps = upload(torch.tensor(AVERAGE_OF_DOUBLED, dtype=x.dtype), x.device)
    kernel = (taps[:, None] * taps).expand(x.shape[1], 1, 3, 3)
    x = F.pad(x, (1, 1, 1, 1), mode="replicate" if repeats_border else "constant")
    return F.conv2d(x, kernel, groups=x.shape[1])


def coarse_layer(
    layer: SynthesisLayer,
    x: Float[Tensor, "B I H W"],
    row: Float[Tensor, "B D"] | Style,
    noise: str | Float[Tensor, "B 1 h w"],
    octaves: int,
) -> Float[Tensor, "B O H W"]:
    """A layer `octaves` octaves below its own resolution; the resolution of `x` stays. `noise`: as the layer takes it,
    maps at the layer's own resolution.
    """
    # "fast" convolves before it doubles, so its taps are pixels of the block below; "fir" doubles first, by a
    # transposed convolution, which turns the kernel round.
    kernel = layer.weight.flip(2, 3) if layer.upsample == "fir" else layer.weight
    kernel = narrowed(kernel, octaves - 1 if layer.upsample == "fast" else octaves)
    style = style_of(layer.affine, row)
    factor = modulation_gain(layer.weight, style, layer.demodulate) * layer.gain
    y = F.conv2d(x * style[:, :, None, None].to(x.dtype), kernel, padding=1) * factor.to(x.dtype)
    if layer.upsample != "none" and octaves == 1:  # further doublings blur by a part of a pixel
        y = average_of_doubled(y, layer.upsample == "fast")
    maps = coarse_noise(layer, y, noise, octaves)
    y = y if maps is None else y + maps.to(y.dtype) * layer.gain
    y = F.leaky_relu(y + (layer.bias * layer.gain).to(y.dtype)[:, None, None], LEAKY_SLOPE, inplace=True)
    return y if layer.clamp is None else y.clamp(-layer.clamp, layer.clamp)


def coarse_noise(
    layer: SynthesisLayer, y: Float[Tensor, "B O H W"], noise: str | Float[Tensor, "B 1 h w"], octaves: int
) -> Tensor | None:
    """Area averages of the layer's noise, times its strength; None where it has none."""
    size = y.shape[-1]
    if isinstance(noise, Tensor):
        return resized(noise, size) * (layer.noise_strength if layer.use_noise else 1.0)
    if not layer.use_noise or noise == "none":
        return None
    if noise == "const":
        return resized(layer.noise_const[None, None], size) * layer.noise_strength
    return torch.randn(len(y), 1, size, size, device=y.device) * (layer.noise_strength / 2**octaves)


def coarse_block(
    block: SynthesisBlock, x: Tensor, image: Tensor | None, rows: list[Tensor | Style], noise: Noise, octaves: int
) -> Drawn:
    """A block `octaves` octaves below its own resolution: (features, image so far), both at the resolution of `x`."""
    noises = [noise] * 2 if isinstance(noise, str) else noise
    repeats_border, skipped = block.resample == "fast", None
    if block.has_residual:
        skipped = F.conv2d(x, block.skip.weight * block.skip.weight_gain)
        skipped = average_of_doubled(skipped, repeats_border) if octaves == 1 else skipped
    x = coarse_layer(block.conv0, x, rows[0], noises[0], octaves)
    if block.n_convs == 2:
        x = coarse_layer(block.conv1, x, rows[1], noises[1], octaves)
    x = x if skipped is None else x + skipped
    if image is not None and octaves == 1:
        image = average_of_doubled(image, repeats_border)
    if block.has_torgb:
        colour = block.torgb(x, rows[block.n_convs])
        image = colour if image is None else image + colour
    return x, image


def can_be_coarse(config: GeneratorConfig) -> bool:
    """Whether all blocks are of the kind that can be run below their own resolution."""
    return config.last_stage != "shuffle"


def drawn_at(size: int) -> DrawBlock:
    """How `Synthesis.made` runs blocks for images of resolution `size`: coarse features from there on."""

    def draw(
        block: nn.Module, x: Tensor | None, image: Tensor | None, rows: list[Tensor | Style], noise: Noise
    ) -> Drawn:
        octaves = (block.resolution // size).bit_length() - 1
        if octaves > 0:
            return coarse_block(block, x, image, rows, noise, octaves)
        return drawn(block, x, image, rows, noise)

    return draw
