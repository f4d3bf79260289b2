"""A pack for a 256 x 256 StyleGAN2 (config-f) on a GPU, cut short: seconds of every step, and what a whole one costs.

    python scripts/gpu_custom.py --out FOLDER                          random weights
    python scripts/gpu_custom.py --out FOLDER --generator FILE --category car
    python scripts/gpu_custom.py --out FOLDER --device cpu --quick     the same code on a CPU, with a tiny generator

Takes at most 8 minutes; what is not done then is named. FOLDER gets `results.json`, the pack and a run (a few MiB). One
JSON object on stdout. Exit codes: 0 done, 1 something failed or was not reached, 2 there is no CUDA here.

Random weights show no object, so that everything counts as one: they are for timings, a FILE for shapes.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # a machine may have the checkout and no installed package
SECONDS = 420.0  # after which a step is broken off
SHORT = (
    "encoder={n_samples: 1000, n_steps: 300, n_image_steps: 150}",
    "pretrain={n_objects: 300, n_fit_objects: 40, n_fit: 100, n_joint: 100}",
)  # fmt: skip
QUICK = (
    "foreground={n_samples: 8, n_fresh: 4, batch: 4, n_clusters: [4, 5], n_pixels: 900, head_rounds: 1, head_steps: 4}",
    "encoder={n_samples: 20, n_steps: 4, n_image_steps: 4, batch: 4, image_batch: 2}",
    "pretrain={n_objects: 3, n_fit_objects: 2, n_fit: 2, n_joint: 2, fit_batch: 2, batch: 2}",
)  # fmt: skip
RESULTS_NAME = "results.json"


class OutOfTimeError(Exception):
    """The time is over in the middle of a step."""


class Clock:
    """A reporter that notes when each part began and ended, and breaks off when the time is over."""

    def __init__(self, seconds: float) -> None:
        self.ends, self.seen = time.perf_counter() + seconds, {}  # part -> [first time, last time, steps, of]

    def __call__(self, name: str, step: int, n_steps: int, **numbers: float) -> None:
        now = time.perf_counter()
        first = self.seen.setdefault(name, [now, now, 0, n_steps, step])
        first[1:4] = now, step, n_steps
        if step in (0, n_steps):
            print(f"{name} {step}/{n_steps}", file=sys.stderr, flush=True)
        if now > self.ends:
            raise OutOfTimeError(name)

    def rates(self) -> dict[str, float]:
        """Seconds a step, from the first report of each part to its last."""
        return {
            name: round((last - first) / (step - began), 5)
            for name, (first, last, step, _, began) in self.seen.items()
            if step > began
        }


def random_checkpoint(path: Path, quick: bool) -> Path:
    """Generator and discriminator with random weights in NVIDIA's names; `quick`: tiny ones of 64 x 64."""
    from gan2shape.core.seeding import seeded
    from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
    from gan2shape.nn.generator import Generator, GeneratorConfig

    size, channels = (64, (4,) * 5) if quick else (256, (512, 512, 512, 512, 512, 256, 128))
    width = 8 if quick else 512
    shape = {"z_dim": width, "w_dim": width, "n_mapping": 2 if quick else 8}
    with seeded(0):
        generator = Generator(GeneratorConfig(resolution=size, channels=channels, resample="fir", noise=True, **shape))
        critic = Discriminator(
            DiscriminatorConfig(resolution=size, channels=channels, resample="fir", unshuffle=False)
        )
    state = {f"G_ema.{name}": tensor for name, tensor in generator.state_dict().items()}
    torch.save(state | {f"D.{name}": tensor for name, tensor in critic.state_dict().items()}, path)
    return path


def everything_is_object(path: Path, category: str) -> None:
    """What `gan2shape prior` would keep, had it found that every pixel of every sample is the object."""
    from gan2shape.nn.mask_head import MaskHead, MaskHeadConfig
    from gan2shape.prior.cache import EstimatedPrior, keep_estimated
    from gan2shape.prior.checkpoint import load_generator

    own = load_generator(path).generator.config
    pairs = zip(own.resolutions, own.channels, strict=True)
    head = MaskHead(MaskHeadConfig(tuple(width for size, width in pairs if 16 <= size <= 64), size=64))
    with torch.no_grad():
        head.last.weight.zero_()
        head.last.bias.fill_(9.0)
    keep_estimated(path, EstimatedPrior(asdict(head.config), head.state_dict(), category))


def whole_seconds(rates: dict[str, float], n_rounds: int) -> dict[str, float]:
    """What the default sizes would take at these rates."""
    from gan2shape.build.generator_plan import GeneratorBuildSizes

    sizes = GeneratorBuildSizes()
    counts = {"samples": sizes.encoder.n_samples, "encoder, latents": sizes.encoder.n_steps}
    counts |= {"encoder, images": sizes.encoder.n_image_steps, "slants": sizes.pretrain.n_fit_objects}
    counts["fit"] = sizes.pretrain.n_fit
    counts |= {f"joint {i}/{n_rounds}": sizes.pretrain.n_joint for i in range(1, n_rounds + 1)}
    return {name: round(n * rates[name], 1) for name, n in counts.items() if name in rates}


def measured(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of some work, until the device has finished."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return round(time.perf_counter() - began, 2)


def build_and_run(options: argparse.Namespace, device: torch.device, path: Path) -> dict:
    """The pack, then runs that use it."""
    from gan2shape.api import reconstruct
    from gan2shape.build.generator_pack import build_generator
    from gan2shape.build.generator_plan import GeneratorBuildRequest
    from gan2shape.core.compose import compose
    from gan2shape.core.config import ShapeConfig

    clock, found = Clock(options.seconds), {}
    rounds = 1 + len(compose(ShapeConfig, options.category).initial.pretraining_depth_scales)
    settings = QUICK if options.quick else SHORT
    request = GeneratorBuildRequest(path, options.category, options.out / "pack", device=str(device), settings=settings)
    try:
        made = build_generator(request, clock)
        found = {"step_s": made.seconds, "measured": made.card.get("measured", {})}
        for preset in ("instant", "draft"):
            given = {"generator": path, "seed": 0, "preset": preset, "device": str(device)}
            run = partial(reconstruct, **given)
            found[f"{preset}_first_s"] = measured(device, run)
            found[f"{preset}_s"] = measured(device, lambda run=run: run().export(options.out / "run"))
    except OutOfTimeError as error:
        found["not_reached"] = f"{error} and what follows"
    found |= {"seconds_a_step": clock.rates(), "whole_s": whole_seconds(clock.rates(), rounds)}
    if device.type == "cuda":
        found["peak_gib"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--generator", type=Path, help="a StyleGAN2 checkpoint; random weights unless given")
    parser.add_argument("--category", default="car", help="whose ranges of views and lights")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the code")
    parser.add_argument("--quick", action="store_true", help="a tiny generator and a few steps")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which a step is broken off")
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("There is no CUDA here: run this on a machine with an NVIDIA GPU, or try it with --device cpu --quick.",
              file=sys.stderr)  # fmt: skip
        return 2
    device = torch.device(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    page = {"device": name, "torch": torch.__version__, "generator": str(options.generator or "random weights")}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GAN2SHAPE_CACHE"] = folder
        path = options.generator
        if path is None:
            path = random_checkpoint(Path(folder) / "config-f.pt", options.quick)
            everything_is_object(path, options.category)
        page |= build_and_run(options, device, path)
    (options.out / RESULTS_NAME).write_text(json.dumps(page, indent=1))
    print(json.dumps(page), flush=True)
    return 1 if "not_reached" in page else 0


if __name__ == "__main__":
    sys.exit(main())
