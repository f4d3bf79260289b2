"""`gan2shape bench frechet`: how far what a generator makes is from images, as two sets.

The Fréchet distance of EfficientNet's pooled features (`measure.perceptual`): comparable between generators that are
measured here with as many images, and with nothing else. Fewer images give larger distances, so that the row also says
what two sets of real images of this number have.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.devices import choose_device
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.measure.perceptual import (
    PerceptualNetwork,
    frechet_distance,
    load_perceptual,
    pooled_features,
)
from gan2shape.nn.generator import Generator
from gan2shape.prior.checkpoint import load_generator
from gan2shape.prior.made import is_made, read_made
from gan2shape.train.dataset import ShardedImages
from gan2shape.train.state import CHECKPOINT_NAME, load_networks

BATCH = 50  # images at once
ADVISED = 5000  # images a side: a covariance of 320 features is poorly known from fewer


@dataclass(frozen=True)
class FrechetRequest:
    """Two sets of images."""

    generator: Path  # a pack, the folder of a training, or anybody's checkpoint
    data: Path  # a folder of shards
    count: int = ADVISED  # images on each side
    seed: int = 0  # of the latents
    device: str = "auto"
    class_index: int | None = None  # of a class-conditional checkpoint or pack; the first unless given


@dataclass(frozen=True)
class RealFeatures:
    """What generators are compared with: the first images of a folder, and as many others where there are such."""

    features: Float[Tensor, "N D"]
    others: Float[Tensor, "N D"] | None


def run_frechet(
    request: FrechetRequest, report: Reporter = silent, known: RealFeatures | None = None
) -> dict[str, float | int | str]:
    """{"frechet", "floor", "n", …}; `floor`: the same distance of two sets of real images, where there are enough.

    The images are the first ones of the folder; `known`: what `real_features` gave for them, which saves most of the
    time for a second generator. Raises UserError as `real_features` does, and where the generator cannot be read.
    """
    device = choose_device(request.device)
    generator = _generator(request.generator, device, request.class_index)
    known = known or real_features(request, generator.config.resolution, report)
    n = request.count
    made = _features(load_perceptual(device), _made(generator, n, request.seed), n, "samples", report)
    row = {"generator": str(request.generator), "n": n, "frechet": frechet_distance(made, known.features)}
    return row if known.others is None else row | {"floor": frechet_distance(known.others, known.features)}


def real_features(request: FrechetRequest, resolution: int, report: Reporter = silent) -> RealFeatures:
    """Features of the request's images at a resolution. Raises UserError where there are fewer than asked for, and
    where the network of the extra `perceptual` is missing.
    """
    if request.count < 2:
        raise UserError(f"{request.count} images have no covariance: give --count {ADVISED}.")
    network, images = load_perceptual(choose_device(request.device)), ShardedImages(request.data, resolution)
    if len(images) < request.count:
        raise UserError(f"{request.data} holds {len(images)} images: give --count {len(images)}, or render more.")
    n = request.count
    real = _features(network, _reals(images, 0, n), n, "real images", report)
    if len(images) < 2 * n:
        return RealFeatures(real, None)
    return RealFeatures(real, _features(network, _reals(images, n, 2 * n), n, "other real images", report))


def _generator(path: Path, device: torch.device, class_index: int | None) -> Generator:
    """The averaged generator of a training's folder, that of a pack, or a checkpoint's."""
    if (path / CHECKPOINT_NAME).is_file() or path.name == CHECKPOINT_NAME:
        if class_index is not None:
            raise UserError(f"{path} is a training: leave out --class, or make it a pack first (gan2shape build).")
        return load_networks(path, device)[0]
    if is_made(path):
        made = read_made(path)
        path, class_index = made.generator, class_index if class_index is not None else made.class_index
    return load_generator(path, device, class_index).generator


def _reals(images: ShardedImages, start: int, end: int) -> Iterator[Float[Tensor, "B 3 S S"]]:
    for first in range(start, end, BATCH):
        yield images.between(first, min(end, first + BATCH))


@torch.no_grad()
def _made(generator: Generator, n: int, seed: int) -> Iterator[Float[Tensor, "B 3 S S"]]:
    z = torch.randn(n, generator.config.z_dim, generator=torch.Generator().manual_seed(seed))
    for part in z.to(generator.w_avg.device).split(BATCH):
        yield generator(part, 1.0, "const").clamp(-1, 1)


def _features(
    network: PerceptualNetwork, batches: Iterator[Tensor], n: int, what: str, report: Reporter
) -> Float[Tensor, "N D"]:
    device, found, done = next(network.parameters()).device, [], 0
    for batch in batches:
        found.append(pooled_features(network, batch.to(device)).cpu())
        done += len(batch)
        report(what, done, n)
    return torch.cat(found)
