"""Which latents, and which pictures of them, come nearest to true renders? Validation objects, poses of `bench edit`.

    python scripts/edit_trial.py --category head [--count 16] [--preset instant] [--quick]

Latents by E or by the editing network T, each alone, guided, and refined and guided; of each the generator's picture as
it is, with the detail that the inversion missed (all of it until the view turns), and with the input's surface where
both agree. PSNR inside the true object (in brackets the paired difference to the picture left as it is), perceptual
distance over the whole picture, identity. --quick: without what descends.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gan2shape.bench.edit_rows import GROUPS
from gan2shape.bench.edits import compared, poses_for, true_renders
from gan2shape.bench.exam import exam_objects, seen_at
from gan2shape.bench.opening import open_measured
from gan2shape.bench.requests import BenchRequest
from gan2shape.bench.truth import TrueViews
from gan2shape.core.records import Render
from gan2shape.edit.carried import DISAGREEMENT, with_detail, with_seen_surface
from gan2shape.edit.controls import Pose
from gan2shape.edit.effects import Own, latents_of, own_of, refined, render_poses, with_own_detail
from gan2shape.edit.guided import guided
from gan2shape.measure.attributes import bundled_attributes
from gan2shape.measure.perceptual import load_perceptual
from gan2shape.measure.statistics import paired_interval
from gan2shape.shape.observe import observe_image
from gan2shape.shape.read_light import with_read_light
from gan2shape.shape.reconstruct import Reconstruction, reconstruct


@dataclass(frozen=True)
class Instruments:
    """What `bench.edits.compared` reads with."""

    perceptual: torch.nn.Module
    attributes: torch.nn.Module


@dataclass(frozen=True)
class Case:
    """One object."""

    image: Tensor
    mask: Tensor
    made: Reconstruction
    poses: list[Pose]
    rendered: Render
    truth: TrueViews
    own: Own


def latents_by(case: Case, by_network: bool, n_refine: int = 0, is_guided: bool = False) -> Tensor:
    """Latents of the poses."""
    made, prior = case.made, case.made.generator.prior
    prior = prior if by_network else replace(prior, editing=None)
    one = replace(made, generator=replace(made.generator, prior=prior))
    latents = latents_of(one, case.rendered, case.poses, case.own)
    if n_refine:
        latents = refined(one, latents, case.rendered, case.poses, n_refine)
    if is_guided:
        latents = guided(latents, case.poses, made.observation, prior.attributes, prior)
    return latents


def pictures_of(case: Case, latents: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """(pictures, masks) of latents by name."""
    with torch.no_grad():
        images, masks = case.made.generator(latents)
    shown, missed = with_own_detail(case.rendered, case.poses, case.own), case.own.not_generated
    found = {"as generated": images, "with detail": with_detail(images, masks, case.rendered, case.poses, missed)}
    for part in (0.5, 1.0, 2.0):
        limit = part * DISAGREEMENT
        found[f"with the surface, {limit:g}"] = with_seen_surface(images, masks, shown, missed, limit)
    return {name: (one, masks) for name, one in found.items()}


def line(name: str, rows: list[list[dict[str, float]]], base: list[list[dict[str, float]]]) -> str:
    """One row of the table."""
    text = f"{name:44s}"
    poses = list(poses_for_names())
    for group, names in GROUPS.items():
        columns = [poses.index(one) for one in names]
        own, left = (np.array([np.mean([one[i]["psnr_db"] for i in columns]) for one in r]) for r in (rows, base))
        gain, half = paired_interval(own, left)
        rest = [np.mean([one[i][key] for one in rows for i in columns]) for key in ("perceptual", "identity")]
        text += f" | {group} {own.mean():5.2f} ({gain:+.2f} ± {half:.2f}) {rest[0]:.3f} {rest[1]:.2f}"
    return text


def poses_for_names() -> tuple[str, ...]:
    """In the order of `poses_for`."""
    return tuple(dict.fromkeys(name for names in GROUPS.values() for name in names))


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--preset", default="instant")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    opened, config = open_measured(BenchRequest(category=given.category, preset=given.preset))
    instruments = Instruments(load_perceptual(), bundled_attributes(given.category))
    cases = []
    for item in exam_objects(given.category, "val", given.count):
        item = seen_at(item, config.render.resolution)
        made = with_read_light(reconstruct(observe_image(item.image, opened, config), opened, config))
        named = poses_for(item)
        poses = list(named.values())
        seen = (made, poses, render_poses(made, poses), true_renders(item, named), own_of(made))
        cases.append(Case(item.image, item.mask, *seen))

    def scored(way: Callable[[Case], tuple[Tensor, Tensor]]) -> list[list[dict[str, float]]]:
        return [compared(*way(case), case.truth, instruments) for case in cases]

    n = len(cases[0].poses)
    base = scored(lambda c: (c.image.expand(n, -1, -1, -1), c.mask.expand(n, -1, -1, -1)))
    print(line("the picture left as it is", base, base))
    surface = scored(lambda c: (with_own_detail(c.rendered, c.poses, c.own).image, c.rendered.mask))
    print(line("effect-3D", surface, base), flush=True)
    for by_network, name in ((False, "E"), (True, "T")):
        for n_refine, is_guided in ((0, False), (0, True), (10, True)):
            if (given.quick and is_guided) or (by_network and opened.prior.editing is None):
                continue
            full = f"{name}{f', {n_refine} steps' if n_refine else ''}{', guidance' if is_guided else ''}"
            made = [pictures_of(case, latents_by(case, by_network, n_refine, is_guided)) for case in cases]
            for kind in made[0]:
                rows = [compared(*one[kind], case.truth, instruments) for one, case in zip(made, cases, strict=True)]
                print(line(f"{full}: {kind}", rows, base), flush=True)


if __name__ == "__main__":
    main()
