"""Pairs of pictures for networks that turn one picture into another: what they are given, and what they have to draw.

    frontal      an object under any view                 the same object, light and background, from the standard view
    silhouette   an object's mask, white on black         the object

A shard of pairs is `given_00000.npy` beside `images_00000.npy`, both uint8 [N, S, S, 3]; `images` is what has to be
drawn.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from gan2shape.core.errors import UserError
from gan2shape.core.files import write_atomic
from gan2shape.core.images import to_uint8
from gan2shape.core.progress import Reporter, silent
from gan2shape.synth.dataset import EXAM_FIRST_SEED, render_items, sample_item, stamp_shards, write_npy
from gan2shape.synth.objects import CategorySpec
from gan2shape.synth.registry import get_category
from gan2shape.synth.render import CHUNK, turntable_view

FRONTAL, SILHOUETTE = PAIRS = "frontal", "silhouette"
KIND_KEY = "pairs"  # of what kind they are, in `shards.json`


def given_beside(shard: Path) -> Path:
    """The file of what is given for a shard's images."""
    return shard.with_name(shard.name.replace("images", "given", 1))


def render_pairs(category: str, seeds: list[int], size: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(given, wanted) of these seeds, uint8 [N, S, S, 3] each. Raises UserError for unknown categories and kinds."""
    spec = get_category(category)
    if kind not in PAIRS:
        raise UserError(f"There are no pairs of the kind '{kind}'; choose one of {', '.join(PAIRS)}.")
    parts = [_pairs(spec, seeds[i : i + CHUNK], size, kind) for i in range(0, len(seeds), CHUNK)]
    given, wanted = (np.concatenate(column) for column in zip(*parts, strict=True))
    return given, wanted


def _pairs(spec: CategorySpec, seeds: list[int], size: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    items = [sample_item(spec, seed) for seed in seeds]
    seen = render_items(spec, items, size, "plain").truth
    if kind == SILHOUETTE:
        return to_uint8(seen.mask.expand(-1, 3, -1, -1), lowest=0.0), to_uint8(seen.image)
    azimuth, elevation = np.deg2rad(spec.standard_view_deg)
    view = turntable_view(float(azimuth), float(elevation)).numpy()
    turned = render_items(spec, [replace(item, view=view) for item in items], size, "plain").truth
    return to_uint8(seen.image), to_uint8(turned.image)


def prerender_pairs(
    category: str,
    count: int,
    first_seed: int,
    folder: Path,
    shard: int,
    size: int,
    kind: str,
    report: Reporter = silent,
) -> None:
    """Write the pairs of seeds first_seed ... first_seed + count - 1; shards that are there are kept.

    Raises UserError for unknown categories and kinds, exam seeds, and a folder with other shards.
    """
    if first_seed + count > EXAM_FIRST_SEED:
        raise UserError(f"Seeds from {EXAM_FIRST_SEED} on are kept for exams; choose a smaller first seed or count.")
    folder.mkdir(parents=True, exist_ok=True)
    stamp = {"category": category, "size": size, "first_seed": first_seed, "shard": shard, KIND_KEY: kind}
    stamp_shards(folder, stamp)
    for number, start in enumerate(range(first_seed, first_seed + count, shard)):
        path = folder / f"images_{number:05d}.npy"
        if not path.exists():
            n = min(shard, first_seed + count - start)
            given, wanted = render_pairs(category, list(range(start, start + n)), size, kind)
            write_atomic(given_beside(path), lambda temporary, made=given: write_npy(temporary, made))
            write_atomic(path, lambda temporary, made=wanted: write_npy(temporary, made))  # last: it is whole then
        report("pairs", min(start + shard - first_seed, count), count)
