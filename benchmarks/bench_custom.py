"""How long a custom generator takes: `gan2shape prior`, then `run`, on a StyleGAN2 of full size with random weights.

    python benchmarks/bench_custom.py                                    # 256 x 256, config-f; prior and smoke
    python benchmarks/bench_custom.py --resolution 128 --parts draft     # one part, which takes minutes
    python benchmarks/bench_custom.py --parts passes                     # GFLOP and seconds of single passes
    python benchmarks/bench_custom.py --keep FOLDER                      # the checkpoint and what `prior` learnt stay

The file has rosinality's layout, generator and discriminator of channel multiplier 2. Random weights show no object and
say nothing about quality; only their time and memory are those of trained ones. Each part is a process of its own with
a disc for a mask: wall and processor seconds and peak memory are from its start to its files.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bench_run import peak_gflop_per_cpu_s
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.prior.masked_generator import sample_latents
from gan2shape.prior.open import open_prior

PARTS = ("passes", "prior", "smoke", "draft")
WIDEST, MULTIPLIER = 512, 2  # channels: at most, and of rosinality's `channel_multiplier` (config-f)
MASK_RADIUS = 0.35  # of the disc, in parts of the image


def published_widths(resolution: int) -> tuple[int, ...]:
    """Feature channels at 4, 8, ..., resolution of config-f."""
    return tuple(min(WIDEST, MULTIPLIER * 16384 // 2**octave) for octave in range(2, resolution.bit_length()))


def random_networks(resolution: int) -> tuple[Generator, Discriminator]:
    """Config-f with seeded random weights; noise weighs nothing, as at the start of a training."""
    torch.manual_seed(0)
    widths = published_widths(resolution)
    generator = Generator(
        GeneratorConfig(resolution=resolution, channels=widths, z_dim=512, w_dim=512, n_mapping=8, resample="fir",
                        noise=True)
    )  # fmt: skip
    critic = Discriminator(DiscriminatorConfig(resolution=resolution, channels=widths, resample="fir", unshuffle=False))
    return generator, critic


def rosinality_state(generator: Generator, critic: Discriminator) -> dict[str, dict[str, Tensor]]:
    """The same numbers under the names of rosinality's implementation."""
    g_ema, d = {}, {}
    for name, tensor in generator.state_dict().items():
        part, block, *rest = name.split(".")
        octave = int(block[1:]).bit_length() - 3 if block[1:].isdigit() else 0
        if part == "mapping":
            if block.startswith("fc"):
                g_ema[f"style.{int(block[2:]) + 1}.{rest[0]}"] = tensor
        elif rest == ["const"]:
            g_ema["input.input"] = tensor[None]
        elif rest[-1] == "noise_const":
            g_ema[f"noises.noise_{2 * octave + int(rest[0] == 'conv1') - 1}"] = tensor[None, None]
        elif rest[-1] != "resample_filter":
            g_ema[f"{layer_name(rest[0], octave)}.{value_name(rest)}"] = shaped(rest, tensor)
    blocks = ["fromrgb", *critic.block_names]
    for name, tensor in critic.state_dict().items():
        block, layer, *rest = name.split(".")
        if rest[-1] == "resample_filter":
            continue
        if block == "b4":
            place = {"conv": f"final_conv.{int(rest[0] == 'bias')}", "fc": "final_linear.0", "out": "final_linear.1"}
            d[f"{place[layer]}.{rest[0]}"] = tensor
        elif layer == "fromrgb":
            d[f"convs.0.{int(rest[0] == 'bias')}.{rest[0]}"] = tensor
        else:
            index = {"conv0": 0, "conv1": 1, "skip": 1}[layer] + int(rest[0] == "bias")
            theirs = {"conv0": "conv1", "conv1": "conv2", "skip": "skip"}[layer]
            d[f"convs.{blocks.index(block)}.{theirs}.{index}.{rest[0]}"] = tensor
    return {"g_ema": g_ema, "d": d, "latent_avg": generator.w_avg}


def layer_name(layer: str, octave: int) -> str:
    """Of a synthesis layer: counted over the whole network, but for the first block."""
    if octave == 0:
        return {"conv1": "conv1", "torgb": "to_rgb1"}[layer]
    return {"conv0": f"convs.{2 * octave - 2}", "conv1": f"convs.{2 * octave - 1}", "torgb": f"to_rgbs.{octave - 1}"}[
        layer
    ]


def value_name(rest: list[str]) -> str:
    """Of a weight within its layer."""
    layer, kind = rest[0], ".".join(rest[1:])
    names = {
        "weight": "conv.weight", "affine.weight": "conv.modulation.weight", "affine.bias": "conv.modulation.bias",
        "noise_strength": "noise.weight", "bias": "bias" if layer == "torgb" else "activate.bias",
    }  # fmt: skip
    return names[kind]


def shaped(rest: list[str], tensor: Tensor) -> Tensor:
    """A weight with the axes that it has there."""
    kind = ".".join(rest[1:])
    if kind == "weight":
        return tensor[None]
    if kind == "noise_strength":
        return tensor.reshape(1)
    return tensor.view(1, -1, 1, 1) if kind == "bias" and rest[0] == "torgb" else tensor


def write_files(folder: Path, resolution: int) -> tuple[Path, Path]:
    """(checkpoint, mask) in the folder; files that are there stay."""
    checkpoint, mask = folder / f"random{resolution}.pt", folder / f"disc{resolution}.png"
    if not checkpoint.is_file():
        torch.save(rosinality_state(*random_networks(resolution)), checkpoint)
    at = (np.arange(resolution) + 0.5) / resolution - 0.5
    inside = at[None] ** 2 + at[:, None] ** 2 < MASK_RADIUS**2
    Image.fromarray((255 * inside).astype(np.uint8)).save(mask)
    return checkpoint, mask


def process(arguments: list[str], cache: Path) -> dict:
    """Wall and processor seconds and peak memory of one `gan2shape` process."""
    environment = {**os.environ, "GAN2SHAPE_CACHE": str(cache)}
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "gan2shape", *arguments, "--device", "cpu"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, errors = child.stdout, child.stderr
    said = errors.read(), out.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"gan2shape {' '.join(arguments)} failed: {said[0][-500:]}")
    announced = [line for line in said[0].splitlines() if "will take" in line]
    return {
        "wall_s": time.perf_counter() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
        "announced": announced[0] if announced else "",
    }


def passes(checkpoint: Path, settings: list[str], batch: int) -> dict[str, dict]:
    """Seconds and GFLOP an image: the generator, forward and with its gradient, and the features that compare."""
    opened, _ = open_prior("car", checkpoint, "draft", settings, device="cpu")
    prior = opened.prior
    z = torch.randn(batch, prior.generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    latents = sample_latents(z, opened)
    images = prior.generator.synthesis(latents).detach()

    def gradient(function: Callable[[Tensor], Tensor], given: Tensor) -> None:
        function(given.clone().requires_grad_()).backward()  # the counter cannot follow `torch.autograd.grad`

    def features(given: Tensor) -> Tensor:
        return sum(maps.square().mean() for maps in prior.discriminator.features(given))

    work = {
        "generator": lambda: prior.generator.synthesis(latents),
        "generator with gradient": lambda: gradient(lambda w: prior.generator.synthesis(w).square().mean(), latents),
        "features": lambda: features(images),
        "features with gradient": lambda: gradient(features, images),
    }
    return {name: cost(one, batch) for name, one in work.items()}


def cost(work: Callable[[], object], n: int) -> dict[str, float]:
    """Of one n-th of it, after a first call that also counts."""
    with FlopCounterMode(display=False) as counter:
        work()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall_s": wall / n, "cpu_s": cpu / n, "gflop": counter.get_total_flops() / n / 1e9}


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=("passes", "prior", "smoke"))
    parser.add_argument("--set", dest="settings", nargs="*", default=[], help="key=value of the configuration of runs")
    parser.add_argument("--batch", type=int, default=8, help="images of a pass")
    parser.add_argument("--keep", type=Path, help="a folder for the files, which a further call uses again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint, mask = write_files(folder, options.resolution)
        report: dict = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        for part in options.parts:
            if part == "passes":
                report["peak_gflop_per_cpu_s"] = peak_gflop_per_cpu_s()
                report[part] = passes(checkpoint, options.settings, options.batch)
            elif part == "prior":
                report[part] = process(["prior", str(checkpoint), "--category", "car"], folder)
            else:
                out = ["--out", str(Path(scratch) / part)]
                given = ["--generator", str(checkpoint), "--category", "car", "--seed", "0", "--mask", str(mask)]
                report[part] = process(["run", *given, "--preset", part, *out, *options.settings], folder)
    print(json.dumps(report, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
