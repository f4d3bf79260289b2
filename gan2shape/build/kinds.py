"""Images that a prior knows and images that it does not, by kind: what the limits of its verdicts are chosen on.

Known: further renders of the category, with their masks, and the generator's own samples. Unknown: noise, colours that
mean nothing, renders of other subjects, and photographs where scikit-image is installed, whose wheel carries some.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.bench.exam import COUNT, LEAST_SIZE, exam_objects, exam_size
from gan2shape.core.images import resized, to_float
from gan2shape.core.resources import exam_dir
from gan2shape.prior.masked_generator import MaskedGenerator, sample_latents
from gan2shape.synth.dataset import render_set
from gan2shape.synth.registry import CATEGORIES, get_category

FIRST_SEED = 930_000  # of the renders: above the training images and the mask head's, below every exam
COARSE = 8  # colours a side of smooth noise
FLAT_NOISE_SD = 0.02  # on flat colours; without it they are refused before any verdict
PHOTOGRAPHS = (
    "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "camera.png", "motorcycle_left.png", "coins.png",
    "brick.png", "grass.png", "gravel.png", "moon.png", "retina.jpg",
)  # fmt: skip
SMALLEST_CROP = 0.35  # of a photograph's shorter side


@dataclass(frozen=True)
class Kind:
    """Images of one kind."""

    name: str
    is_known: bool
    images: Float[Tensor, "N 3 S S"]
    masks: Float[Tensor, "N 1 S S"] | None = None  # those that a user would give
    serves: bool = True  # its first half chooses limits; otherwise it is only rated


def all_kinds(category: str, generator: MaskedGenerator, count: int) -> list[Kind]:
    """`count` images of each kind, twice as many of those that are known and choose: rare ones count there. The same in
    every call; at the generator's resolution.
    """
    size, rng = generator.resolution, torch.Generator().manual_seed(0)
    z = torch.randn(2 * count, generator.prior.generator.config.z_dim, generator=rng)
    with torch.no_grad():
        samples = generator(sample_latents(z, generator))[0].cpu()
    coarse = torch.rand(count, 3, COARSE, COARSE, generator=rng) * 2 - 1
    colours = (torch.rand(count, 3, 1, 1, generator=rng) * 2 - 1).expand(count, 3, size, size)
    grain = FLAT_NOISE_SD * torch.randn(count, 3, size, size, generator=rng)
    return [
        rendered(category, True, 2 * count, size),
        Kind("own samples", True, samples),
        *exam_kinds(category, size, count),
        Kind("noise", False, torch.rand(count, 3, size, size, generator=rng) * 2 - 1),
        Kind("smooth noise", False, resized(coarse, size, "bicubic").clamp(-1, 1)),
        Kind("flat colour", False, (colours + grain).clamp(-1, 1)),
        *(rendered(other, False, count, size) for other in of_other_subjects(category)),
        *kindred(category, count, size),
        *photographs(size, count),
    ]


def of_other_subjects(category: str) -> list[str]:
    """The categories whose images show something else."""
    own = get_category(category).subject
    return [name for name, spec in CATEGORIES.items() if spec.subject != own]


def rendered(category: str, is_known: bool, count: int, size: int) -> Kind:
    """Renders of a category; masks where they are of the prior's own."""
    truth = render_set(category, [FIRST_SEED + i for i in range(count)], size).truth
    return Kind(f"renders: {category}", is_known, truth.image, truth.mask if is_known else None)


def kindred(category: str, count: int, size: int) -> list[Kind]:
    """The category's objects as a camera takes them, and other categories of its subject: the prior may know them or
    not, so they only rate.
    """
    own = get_category(category)
    others = [name for name, spec in CATEGORIES.items() if spec.subject == own.subject and name != category]
    seeds = [FIRST_SEED + i for i in range(count)]
    sets = {f"renders: {category}, natural": render_set(category, seeds, size, "natural")}
    sets |= {f"renders: {name}": render_set(name, seeds, size) for name in others}
    return [Kind(name, False, made.truth.image, made.truth.mask, serves=False) for name, made in sets.items()]


def exam_kinds(category: str, size: int, count: int) -> list[Kind]:
    """The exam's images, which only rate; none where there is no exam, or none that holds images of that size."""
    if not (exam_dir() / category).is_dir() or not LEAST_SIZE <= size <= exam_size(category):
        return []
    kinds = []
    for split in ("val", "test"):
        items = exam_objects(category, split, min(count, COUNT[split]), size)
        images, masks = torch.cat([item.image for item in items]), torch.cat([item.mask for item in items])
        kinds.append(Kind(f"exam, {split}", True, images, masks, serves=False))
    return kinds


def photographs(size: int, count: int) -> list[Kind]:
    """Crops of the photographs in scikit-image's wheel, whole ones first, which only rate: limits are the same without
    that package. None where it is not installed.
    """
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        return []
    from PIL import Image

    rng, folder = np.random.default_rng(0), Path(spec.origin).parent / "data"
    pictures = [np.asarray(Image.open(folder / name).convert("RGB")) for name in PHOTOGRAPHS]
    crops = []
    for i in range(count):
        picture = pictures[i % len(pictures)]
        shorter = min(picture.shape[:2])
        side = shorter if i < len(pictures) else int(shorter * rng.uniform(SMALLEST_CROP, 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
        crop = to_float(picture[None, top : top + side, left : left + side].copy())
        crops.append(resized(crop, size, "bicubic").clamp(-1, 1))
    return [Kind("photographs", False, torch.cat(crops), serves=False)]
