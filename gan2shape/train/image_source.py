"""Images to train on: a folder of shards, or a category's objects, rendered once beside the training; pairs of them.

Generators have seen the seeds below FIRST_SEED; networks that are measured beside them learn from the ones above.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.synth.dataset import SHARD, SHARDS_NAME, prerender
from gan2shape.synth.pairs import KIND_KEY, given_beside, prerender_pairs
from gan2shape.train.dataset import SHARD_PATTERN, ShardedImages

FIRST_SEED = 100_000  # of the images that are rendered here
LABELLED = "-classes"  # ends the name of a folder whose images have classes


@dataclass(frozen=True)
class ImageSource:
    """The first `count` images of some shards, whatever else is added to the folder meanwhile."""

    images: ShardedImages
    count: int
    made_of: dict[str, Any]  # for settings and cards

    def sample(self, rng: np.random.Generator, n: int, flips: bool = True) -> Float[Tensor, "n 3 S S"]:
        """`n` random images in [-1, 1], each mirrored with probability one half if `flips`."""
        return self.images.images_at(rng.integers(0, self.count, size=n), rng, flips)

    def sample_labelled(
        self, rng: np.random.Generator, n: int, flips: bool = True
    ) -> tuple[Float[Tensor, "n 3 S S"], Int[Tensor, " n"]]:
        """The same, and the classes of the images."""
        indices = rng.integers(0, self.count, size=n)
        return self.images.images_at(indices, rng, flips), torch.from_numpy(self.images.fetch_labels(indices))


@dataclass(frozen=True)
class PairSource:
    """The first `count` pairs of some shards (synth.pairs)."""

    given: ShardedImages
    wanted: ShardedImages
    count: int
    made_of: dict[str, Any]  # for settings and cards

    def sample(self, rng: np.random.Generator, n: int) -> tuple[Float[Tensor, "n 3 S S"], Float[Tensor, "n 3 S S"]]:
        """(given, wanted) of `n` random pairs, in [-1, 1]."""
        indices = rng.integers(0, self.count, size=n)
        return self.given.images_at(indices, rng, False), self.wanted.images_at(indices, rng, False)


def n_unrendered(
    category: str, count: int, size: int, beside: Path, data: Path | None = None, kind: str = "images", ending: str = ""
) -> int:
    """How many pictures `image_source` would have to render, or with a kind of pairs `pair_source`: those of
    the shards that are missing.
    """
    if data is not None:
        return 0
    folder, shard = _folder(category, size, beside, kind, ending), min(count, SHARD)
    return sum(shard for i in range(-(-count // shard)) if not (folder / f"images_{i:05d}.npy").exists())


def _folder(category: str, size: int, beside: Path, kind: str = "images", ending: str = "") -> Path:
    """Where pictures are rendered for a training in the folder `beside`."""
    return beside.parent / f"{kind}-{category}-{size}{ending}"


def pair_source(
    category: str, kind: str, count: int, size: int, beside: Path, data: Path | None = None, report: Reporter = silent
) -> PairSource:
    """The pairs of the folder `data`, or `count` of the category's objects, rendered beside `beside`.

    Raises UserError as `image_source` does, and for a folder whose shards are not such pairs.
    """
    if data is None:
        folder, shard = _folder(category, size, beside, kind), min(count, SHARD)
        prerender_pairs(category, -(-count // shard) * shard, FIRST_SEED, folder, shard, size, kind, report)
    else:
        folder = data
    made_of = {"count": count, "size": size, **_stamp(folder, ("category", "first_seed", KIND_KEY))}
    if made_of.get(KIND_KEY, kind) != kind:
        raise UserError(f"{folder} holds pairs of the kind {made_of[KIND_KEY]}, not {kind}: name another folder.")
    pattern = given_beside(Path(SHARD_PATTERN)).name
    wanted, given = ShardedImages(folder, size), ShardedImages(folder, size, pattern=pattern)
    if min(len(wanted), len(given)) < count:
        n = min(len(wanted), len(given))
        raise UserError(f"{folder} holds {n} pairs, but {count} are asked for: ask for fewer.")
    return PairSource(given, wanted, count, made_of)


def image_source(
    category: str,
    count: int,
    size: int,
    beside: Path,
    data: Path | None = None,
    labelled: bool = False,
    report: Reporter = silent,
) -> ImageSource:
    """The images of the folder `data`, or `count` of the category, rendered into a folder beside `beside` unless they
    are there already (trainings side by side share it).

    labelled: with the classes of the images. Raises UserError as `ShardedImages` and `prerender` do, and for a folder
    with fewer images than `count`.
    """
    if data is None:
        folder = _folder(category, size, beside, ending=LABELLED if labelled else "")
        shard = min(count, SHARD)
        whole = -(-count // shard) * shard  # a shard that is there is never made longer
        prerender(category, whole, FIRST_SEED, folder, shard, 1, size, report, labels=labelled)
        made_of = {"category": category, "first_seed": FIRST_SEED, "count": count, "size": size}
    else:
        folder, made_of = data, {"count": count, "size": size, **_stamp(data)}
    images = ShardedImages(folder, size, labelled)
    if len(images) < count:
        raise UserError(f"{folder} holds {len(images)} images, but {count} are asked for: ask for fewer.")
    return ImageSource(images, count, made_of)


def _stamp(folder: Path, keys: tuple[str, ...] = ("category", "first_seed")) -> dict[str, Any]:
    """What `gan2shape synth --shards` says of a folder; its name where nothing does."""
    try:
        stamp = json.loads((folder / SHARDS_NAME).read_text(encoding="utf-8"))
        return {name: stamp[name] for name in keys}
    except (OSError, ValueError, KeyError, TypeError):
        return {"folder": folder.name}
