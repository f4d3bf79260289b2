"""What coarse last blocks and bfloat16 change in a generator's images, and what they save.

    python benchmarks/last_blocks.py [--samples 48]

Differences are means of |difference| from the area averages of the full images, of a range of 2: of the bundled packs
at smaller sizes, and of StyleGAN2 config-f with random weights. Arithmetic is of one image of config-f, counted.
"""

import argparse

import torch
from bench_custom import random_networks
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from gan2shape.core.resources import pack_dir
from gan2shape.nn.generator import Generator
from gan2shape.nn.layers import upsample_bilinear
from gan2shape.nn.sized_generator import at_size
from gan2shape.prior.packs import load_pack

TRUNCATION = 0.7  # of the samples
FEW = 4  # samples of config-f
WORKED_AT = 64  # pixels
RESOLUTIONS, SIZES = (64, 128, 256, 512, 1024), (128, 64)


def samples(generator: Generator, centre: Tensor, n: int) -> Tensor:
    """n latents w."""
    z = torch.randn(n, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    return centre + TRUNCATION * (generator.mapping(z) - centre)


@torch.no_grad()
def differences(generator: Generator, w: Tensor, size: int) -> tuple[float, float]:
    """(without the last blocks, with coarse ones)."""
    lacking, coarse = [], []
    blocks = size.bit_length() - 2  # 4 x 4 is the first
    for one in w.split(1):
        whole, so_far = generator.synthesis(one, return_features=True), None
        full = F.interpolate(whole[0], size=(size, size), mode="area")
        parts = generator.synthesis.blocks(), generator.synthesis.rows(one), whole[1]
        for block, rows, x in zip(*(part[:blocks] for part in parts), strict=True):
            so_far = block.torgb(x, rows[-1]) + (0 if so_far is None else upsample_bilinear(so_far))
        lacking.append((so_far - full).abs().mean())
        coarse.append((at_size(generator, size, is_coarse=True).synthesis(one) - full).abs().mean())
    return float(torch.stack(lacking).mean()), float(torch.stack(coarse).mean())


def bfloat16_change(generator: Generator, w: Tensor) -> tuple[float, float]:
    """(mean |difference| of images in [-1, 1], cosine of the gradients of their mean square), at `WORKED_AT` pixels."""
    images, gradients = [], []
    for is_bfloat16 in (False, True):
        free = w.clone().requires_grad_()
        image = at_size(generator, WORKED_AT, is_coarse=True, is_bfloat16=is_bfloat16).synthesis(free)
        gradients.append(torch.autograd.grad(image.square().mean(), free)[0].flatten())
        images.append(image.detach().clamp(-1, 1))
    return float((images[0] - images[1]).abs().mean()), float(F.cosine_similarity(*gradients, dim=0))


@torch.no_grad()
def gflop(generator: Generator, w: Tensor) -> float:
    """Of one image."""
    with FlopCounterMode(display=False) as counter:
        generator.synthesis(w[:1])
    return counter.get_total_flops() / 1e9


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=48, help="of a pack")
    given = parser.parse_args()
    for category in ("car", "head"):
        pack = load_pack(pack_dir(category))
        w = samples(pack.generator, pack.w_mean, given.samples)
        for size in (32, 16):
            without, coarse = differences(pack.generator, w, size)
            print(f"{category}, 64 to {size} pixels: without the last blocks {without:.3f}, coarse {coarse:.3f}")
        change, cosine = bfloat16_change(pack.generator, w)
        print(f"{category}, bfloat16: images change by {change:.4f}, cosine of the gradients {cosine:.4f}")
    for resolution in RESOLUTIONS:
        generator, _ = random_networks(resolution)
        generator = generator.eval().requires_grad_(False)
        w = samples(generator, generator.mapping(torch.zeros(1, generator.config.z_dim)), FEW)
        counted = [f"full {gflop(generator, w):.1f}"]
        for size in (size for size in SIZES if size < resolution):
            counted.append(f"at {size} x {size} {gflop(at_size(generator, size, is_coarse=True), w):.1f}")
        print(f"config-f, {resolution} x {resolution}, GFLOP an image: {', '.join(counted)}")
        if resolution == 256:
            without, coarse = differences(generator, w, WORKED_AT)
            print(f"config-f, 256 to 64 pixels: without the last blocks {without:.2f}, coarse {coarse:.3f}")
            change, cosine = bfloat16_change(generator, w[:1])
            print(f"config-f, 256, bfloat16: images change by {change:.4f}, cosine of the gradients {cosine:.4f}")


if __name__ == "__main__":
    main()
