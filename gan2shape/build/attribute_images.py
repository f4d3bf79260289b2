"""Pictures with known attributes: every object twice, each time under its own view and light.

Shards `pairs_00000.npz` in the work folder hold images uint8 [N, 2, S, S, 3] and their truth, so that a build that was
stopped goes on at the next one. The first picture of an object is the one its seed has in every set; the second has a
view and light from a stream of their own (`synth.dataset.mesh_item`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from gan2shape.bench.regressor import heading_rad
from gan2shape.core.files import UNREADABLE_ARRAYS, write_arrays_atomic
from gan2shape.core.progress import Reporter, silent
from gan2shape.synth.dataset import SyntheticItem, mesh_item, sample_item
from gan2shape.synth.objects import CategorySpec
from gan2shape.synth.registry import get_category
from gan2shape.synth.render import CHUNK, render_colour

SHARD = 250  # objects in a file
COLOUR_ENDING, LAB_ENDING = "_rgb", "_lab"  # colours are learnt, and their errors stated, in CIE Lab


@dataclass(frozen=True)
class AttributePairs:
    """N objects, two pictures of each."""

    images: UInt8[np.ndarray, "N 2 S S 3"]
    heading_rad: Float[Tensor, "N 2"]
    light: Float[Tensor, "N 2 4"]  # camera frame
    traits: Float[Tensor, "N T"]  # of the object: both pictures show them
    style: Int[Tensor, " N"]  # class number; 0 where the category has no styles


def trait_sizes(spec: CategorySpec) -> dict[str, int]:
    """Name of each trait -> how many numbers it has; colours by their name in Lab."""
    params = spec.sample(np.random.default_rng(0))
    return {_named(name): np.size(getattr(params, name)) for name in spec.traits}


def trait_values(spec: CategorySpec, params: list) -> Float[Tensor, "N T"]:
    """The traits of some objects, side by side; colours in CIE Lab (D65)."""
    columns = [torch.zeros(len(params), 0)]
    for name in spec.traits:
        values = torch.tensor(np.array([np.atleast_1d(getattr(one, name)) for one in params]), dtype=torch.float32)
        columns.append(_lab(values) if name.endswith(COLOUR_ENDING) else values)
    return torch.cat(columns, 1)


def render_pairs_of(category: str, seeds: list[int], size: int) -> AttributePairs:
    """The objects of these seeds."""
    spec = get_category(category)
    images = np.empty((len(seeds), 2, size, size, 3), np.uint8)
    items: list[tuple[SyntheticItem, SyntheticItem]] = []
    for start in range(0, len(seeds), CHUNK):
        first = [sample_item(spec, seed) for seed in seeds[start : start + CHUNK]]
        second = [mesh_item(spec, item.mesh, item.seed) for item in first]
        for column, some in enumerate((first, second)):
            view, light, background = (_stack(some, name) for name in ("view", "light", "background"))
            meshes = [item.mesh for item in some]
            images[start : start + len(some), column] = render_colour(
                meshes, view, light, background, size=size, fov_deg=spec.fov_deg
            )
        items += zip(first, second, strict=True)
    headings, lights = [], []
    for column in zip(*items, strict=True):
        headings.append(heading_rad(_stack(list(column), "view")))
        lights.append(_stack(list(column), "light"))
    firsts = [item for item, _ in items]
    return AttributePairs(
        images=images,
        heading_rad=torch.stack(headings, 1),
        light=torch.stack(lights, 1),
        traits=trait_values(spec, [item.params for item in firsts]),
        style=torch.tensor([_class_of(spec, item) for item in firsts]),
    )


def n_missing_pairs(first_seed: int, n: int, size: int, folder: Path) -> int:
    """Of how many objects `pairs_on_disk` has no file there."""
    return sum(len(seeds) for seeds, path in _shards(first_seed, n, size, folder) if not path.exists())


def _shards(first_seed: int, n: int, size: int, folder: Path) -> list[tuple[list[int], Path]]:
    """(seeds, file) of each shard."""
    parts = [list(range(first_seed + i, first_seed + min(n, i + SHARD))) for i in range(0, n, SHARD)]
    return [(seeds, folder / f"pairs_{size}_{seeds[0]:06d}_{len(seeds)}.npz") for seeds in parts]


def pairs_on_disk(
    category: str, first_seed: int, n: int, size: int, folder: Path, report: Reporter = silent
) -> AttributePairs:
    """n objects from `first_seed` on: read from shards in the folder where they are, rendered and written otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for seeds, path in _shards(first_seed, n, size, folder):
        shards.append(_shard(category, seeds, size, path))
        report("attribute images", sum(len(shard.style) for shard in shards), n)
    columns = {name: [getattr(shard, name) for shard in shards] for name in AttributePairs.__dataclass_fields__}
    images = np.concatenate(columns.pop("images"))
    return AttributePairs(images=images, **{name: torch.cat(parts) for name, parts in columns.items()})


def _shard(category: str, seeds: list[int], size: int, path: Path) -> AttributePairs:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in AttributePairs.__dataclass_fields__}
        return AttributePairs(
            images=arrays.pop("images"), **{name: torch.from_numpy(array) for name, array in arrays.items()}
        )
    except UNREADABLE_ARRAYS:  # missing or damaged
        made = render_pairs_of(category, seeds, size)
        write_arrays_atomic(path, {name: np.asarray(getattr(made, name)) for name in vars(made)})
        return made


def _stack(items: list[SyntheticItem], name: str) -> Tensor:
    return torch.from_numpy(np.stack([getattr(item, name) for item in items]))


def _class_of(spec: CategorySpec, item: SyntheticItem) -> int:
    return spec.styles.index(item.mesh.style) if spec.styles else 0


def _named(trait: str) -> str:
    return trait.removesuffix(COLOUR_ENDING) + LAB_ENDING if trait.endswith(COLOUR_ENDING) else trait


def _lab(rgb: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    from kornia.color import rgb_to_lab  # late: it takes half a second

    return rgb_to_lab(rgb[:, :, None, None])[:, :, 0, 0]
