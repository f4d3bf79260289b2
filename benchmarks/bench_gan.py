"""Images per second of one GAN training step: the default network and what was weighed against it.

    python benchmarks/bench_gan.py [--threads 1] [--seconds 4] [--wall]

Rates are per CPU second of the process unless --wall is given: with one thread that is about what an undisturbed core
would reach, whatever else the machine does. The step is the real one without data loading: adversarial update, lazy R1,
weight average.
"""

import argparse
import copy
import datetime
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from gan2shape.nn import layers
from gan2shape.nn.averages import average_weights
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.layers import n_parameters
from gan2shape.train import objectives
from gan2shape.train.loop import TrainConfig
from gan2shape.train.state import lazy_adam

WARM_UP_STEPS = 2
FULL_SIZE_DISCRIMINATOR = DiscriminatorConfig(unshuffle=False, channels=(128, 128, 96, 48, 16))


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    batch: int = 16  # images per step
    channels_last: bool = True  # memory format


VARIANTS = (
    Variant("default"),
    Variant("batch 32", batch=32),
    Variant("channels first", channels_last=False),
    Variant("last stage: one convolution", GeneratorConfig(last_stage="single")),
    Variant("last stage: shuffle and blur", GeneratorConfig(last_stage="shuffle")),
    Variant("discriminator from 64 x 64", discriminator=FULL_SIZE_DISCRIMINATOR),
    Variant("noise inputs", GeneratorConfig(noise=True)),
    Variant("published resampling", GeneratorConfig(resample="fir"), DiscriminatorConfig(resample="fir")),
)


def make_step(variant: Variant) -> Callable[[int], None]:
    """A training step on random images; its argument is the step's number."""
    torch.manual_seed(0)
    config = TrainConfig()
    memory_format = torch.channels_last if variant.channels_last else torch.contiguous_format
    generator = Generator(variant.generator).to(memory_format=memory_format)
    discriminator = Discriminator(variant.discriminator).to(memory_format=memory_format)
    average = copy.deepcopy(generator)
    real = torch.rand(variant.batch, 3, 64, 64).mul(2).sub(1).contiguous(memory_format=memory_format)
    adam_g = lazy_adam(generator, config.lr, config.beta2, 0)
    adam_d = lazy_adam(discriminator, config.lr, config.beta2, config.r1_interval)

    def latents() -> Tensor:
        w = generator.mapping(torch.randn(variant.batch, variant.generator.z_dim))
        return w[:, None].expand(-1, generator.n_layers, -1)

    def step(number: int) -> None:
        objectives.generator_gradients(generator, discriminator, latents())
        adam_g.step()
        with torch.no_grad():
            fake = generator.synthesis(latents(), "random")
        objectives.discriminator_gradients(discriminator, fake, real)
        adam_d.step()
        if number % config.r1_interval == 0:
            objectives.clear_gradients(discriminator)
            penalty = objectives.gradient_penalty(discriminator, real)
            (penalty * (0.5 * config.r1_gamma * config.r1_interval)).backward()
            adam_d.step()
        average_weights(average, generator, 0.998)

    return step


def rate(step: Callable[[int], None], batch: int, seconds: float, clock: Callable[[], float]) -> float:
    """Images per second of `clock`, over whole regularisation intervals' worth of steps or `seconds`."""
    for number in range(WARM_UP_STEPS):
        step(number)
    start, number = clock(), 0
    while clock() - start < seconds:
        step(number)
        number += 1
    return number * batch / (clock() - start)


def blur_table(seconds: float, clock: Callable[[], float]) -> None:
    """Ways to apply the [1, 3, 3, 1] filter to 16 x 48 x 33 x 33, forward and backward."""
    x = torch.randn(16, 48, 33, 33).contiguous(memory_format=torch.channels_last).requires_grad_(True)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8

    def separable(y: Tensor) -> Tensor:
        y = F.conv2d(y, taps.view(1, 1, 4, 1).expand(48, 1, 4, 1), padding=(1, 0), groups=48)
        return F.conv2d(y, taps.view(1, 1, 1, 4).expand(48, 1, 1, 4), padding=(0, 1), groups=48)

    def averages(y: Tensor) -> Tensor:
        y = F.pad(y, (1, 1, 1, 1))
        for _ in range(3):
            y = F.avg_pool2d(y, 2, 1)
        return y

    ways = {
        "one depthwise 4 x 4": lambda y: layers.fir_blur(y, 1),
        "two separable passes": separable,
        "three 2 x 2 averages": averages,
    }
    for name, way in ways.items():
        start, count = clock(), 0
        while clock() - start < seconds:
            way(x).sum().backward()
            count += 1
        print(f"| {name:28s} | {1000 * (clock() - start) / count:6.1f} ms |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--seconds", type=float, default=4.0, help="per row")
    parser.add_argument("--wall", action="store_true", help="wall clock instead of CPU seconds")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.perf_counter if options.wall else time.process_time
    unit = "wall" if options.wall else "CPU"
    print(f"{datetime.date.today()}, {platform.machine()}, torch {torch.__version__}, {options.threads} threads\n")
    print(f"| training step | images per {unit} second | G / D parameters |\n|---|---|---|")
    for variant in VARIANTS:
        images_per_s = rate(make_step(variant), variant.batch, options.seconds, clock)
        sizes = [n_parameters(n) / 1e6 for n in (Generator(variant.generator), Discriminator(variant.discriminator))]
        print(f"| {variant.name:28s} | {images_per_s:6.1f} | {sizes[0]:.2f} M / {sizes[1]:.2f} M |", flush=True)
    print(f"\n| filter | {unit} time |\n|---|---|")
    blur_table(options.seconds / 2, clock)


if __name__ == "__main__":
    main()
