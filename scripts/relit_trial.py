"""What do pictures under other lights tell of form? Validation objects; rung 7 of the ladder.

    python scripts/relit_trial.py --category head [--count 32] [--first 0] [--preset instant]

For each way to make 16 relit pictures of the input's own view (scene/photometric.py fits normals to them): MAD of the
normals as parts of flat, and SIDE and MAD of the depth that takes its fine form from them, with paired differences to
the depth without. "true": renders of the true object under known lights, the ceiling. "T": by the editing network,
lights as L reads them (T has learnt from labels). "encoder": the relit coarse shape, projected by the pack's encoder,
with no label. "mean": with the mirror image's. With another preset than instant only what ships is measured
(`initial.relit_cutoff` at 0 and at .05), after that preset's inversion and fusion.
"""

import argparse
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gan2shape.bench.exam import ExamObject, exam_objects
from gan2shape.bench.groups import heading_deg
from gan2shape.bench.opening import open_measured
from gan2shape.bench.requests import BenchRequest
from gan2shape.bench.score import of_flat, score_depth, score_mask
from gan2shape.bench.truth import render_truth
from gan2shape.measure.metrics import mad_deg
from gan2shape.measure.statistics import mean_interval, paired_interval
from gan2shape.prior.scene import pretrained_networks
from gan2shape.scene.light import normals_from_depth
from gan2shape.scene.photometric import depth_with_normals, photometric_normals
from gan2shape.shape.initialize import from_depth_network
from gan2shape.shape.observe import observe_image
from gan2shape.shape.relit import NEARNESS, light_grid, mirrored_normals, relit_normals
from gan2shape.shape.state import make_target, new_state, target_from

CUTOFF = 0.05  # of the width
EDGES_DEG = (0, 30, 65, 181)


def by_editing_network(normals: Tensor, target, latent: Tensor, known, generator, box) -> Tensor:
    """Normals from pictures of the editing network."""
    own = known.lights(target.image)
    grid = light_grid(own, box)
    change = F.pad(grid - own, (2, 0))
    images = generator(latent + generator.prior.editing(latent.expand(len(grid), *latent.shape[1:]), change))[0]
    return photometric_normals(intensity_of(images), known.lights(images), normals, NEARNESS)


def intensity_of(images: Tensor) -> Tensor:
    """Grey in [0, 1]."""
    return (images / 2 + 0.5).mean(1, keepdim=True)


def normals_by_way(item: ExamObject, depth: Tensor, observation, known, generator, config) -> dict[str, Tensor]:
    """Name of the way -> normals of one object."""
    box, normals = config.lights, normals_from_depth(depth, config.render.fov_deg)
    target = make_target(observation, generator)
    lights = light_grid(item.light, box)
    true = render_truth(item, torch.zeros(len(lights), 6), lights).images
    mirror = target_from(target.image.flip(-1), target.canvas.mask.flip(-1))
    guessed = generator.prior.guess_latent(mirror.image)
    found = {"true renders": photometric_normals(intensity_of(true), lights, normals, 0.001)}
    found["T"] = by_editing_network(normals, target, observation.latent, known, generator, box)
    found["encoder"] = relit_normals(normals, target, known, generator, box)
    flipped = mirrored_normals(normals)
    others = {
        "T": by_editing_network(flipped, mirror, guessed, known, generator, box),
        "encoder": relit_normals(flipped, mirror, known, generator, box),
    }
    for name, other in others.items():
        found[f"{name}, mean"] = F.normalize(found[name] + mirrored_normals(other), dim=1)
    return found


def scored(item: ExamObject, depth: Tensor) -> tuple[float, float]:
    """SIDE and MAD as parts of flat."""
    flat = score_depth(torch.ones_like(item.depth), item.depth, item.mask, item.fov_deg)
    score = of_flat(score_depth(depth, item.depth, item.mask, item.fov_deg), flat)
    return score["side_of_flat"], score["mad_of_flat"]


def line(name: str, rows: np.ndarray, base: np.ndarray) -> str:
    """SIDE / MAD of flat, and paired differences."""
    if len(rows) < 2:
        return f"{name:34s} n = {len(rows)}"
    parts = [mean_interval(rows[:, i])[0] for i in range(2)]
    gaps = [paired_interval(rows[:, i], base[:, i]) for i in range(2)]
    shown = "  ".join(f"{gap:+.3f} ± {half:.3f}" for gap, half in gaps)
    return f"{name:34s} n = {len(rows):2d}  {parts[0]:.3f} / {parts[1]:.3f}   d {shown}"


@torch.no_grad()
def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="head")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--preset", default="instant")
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator, config = open_measured(BenchRequest(category=given.category, preset=given.preset))
    known = pretrained_networks(generator.prior, config)
    shapes = {cutoff: replace(config, initial=replace(config.initial, relit_cutoff=cutoff)) for cutoff in (0.0, CUTOFF)}
    items = exam_objects(given.category, "val", given.first + given.count, config.render.resolution)[given.first :]
    empty = new_state(config, generator.prior.w_mean.shape[-1], "cpu").model
    scores, errors = {}, {}
    for item in items:
        with torch.enable_grad():
            observation = observe_image(item.image, generator, config)
        target = make_target(observation, generator)
        depths = {
            f"cutoff {cutoff:g}": from_depth_network(empty, known, target, generator, one).base.initial
            for cutoff, one in shapes.items()
        }
        if given.preset == "instant":
            depth, mask = depths["cutoff 0"], score_mask(item.mask)
            true = normals_from_depth(item.depth, item.fov_deg)
            flat = mad_deg(normals_from_depth(torch.ones_like(item.depth)), true, mask)
            for name, normals in normals_by_way(item, depth, observation, known, generator, config).items():
                errors.setdefault(name, []).append(float(mad_deg(normals, true, mask) / flat))
                cutoff_px = (0.3 if name == "true renders" else CUTOFF) * mask.shape[-1]
                depths[name] = depth_with_normals(depth, normals, observation.mask, cutoff_px)
        for name, depth in depths.items():
            scores.setdefault(name, []).append(scored(item, depth))
    for name, values in errors.items():
        print(f"MAD of normals, of flat: {name:16s} {np.mean(values):.3f}")
    headings = np.array([heading_deg(item) for item in items])
    base = np.array(scores["cutoff 0"])
    for name, values in scores.items():
        print(line(name, np.array(values), base))
        for low, high in pairwise(EDGES_DEG):
            rows = np.flatnonzero((headings >= low) & (headings < high))
            if len(rows):
                print(line(f"  heading {low}-{high}", np.array(values)[rows], base[rows]))


if __name__ == "__main__":
    main()
