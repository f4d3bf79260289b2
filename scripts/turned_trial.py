"""What do turned pictures of the editing network tell of depth? Validation objects, preset instant; rungs 3 and 6.

    python scripts/turned_trial.py ladder --category car [--count 64]     # what there is to win: oracles
    python scripts/turned_trial.py reach  --category car [--count 32]     # how far T can be trusted to turn
    python scripts/turned_trial.py fuse   --category car [--count 32]     # rung 6: eight headings, fused
    python scripts/turned_trial.py gauge  --category car [--count 64]     # rung 3: scale and tilt by turned pictures

All print SIDE / MAD as parts of flat with paired differences to the depth of one pass, over all objects and by heading.
ladder: the best scale, sideways tilt and plane of each object by its truth, and one scale and tilt for each heading bin
chosen on the second half of the objects.
reach: the turn that the attribute network reads in pictures asked to turn so far, in equal steps.
fuse: turned depths, lifted with the view as asked, as V reads it or as the attribute network does, moved into the
input's frame by the z-buffer, at the mean distance of the one-pass depth, and fused by the median weighed by canonical
area; the same with true renders, and with true renders and true depth: what fusion could give.
gauge: depths of many scales and sideways tilts are turned; those whose outline, width or colours agree best with turned
pictures win, weighed by a Gaussian prior about what ships (`temperature` chosen on the second half, printed of the
first). Pictures are true renders, of T, or projections of renders by the encoder; turns are as asked, as the attribute
network reads them (which has learnt from headings), or as V reads them (which has not).
"""

import argparse
import math
from dataclasses import dataclass
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
from gan2shape.core.config import ShapeConfig
from gan2shape.measure.statistics import paired_interval
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.scene import pretrained_networks
from gan2shape.scene.camera import compose_views, inverse_view, yaw_views
from gan2shape.scene.render import render_depth, render_scene, visible_area, warp
from gan2shape.shape.batch import in_one_pass
from gan2shape.shape.gauge import across
from gan2shape.shape.initialize import mirror_mean_depth, read_pitch_yaw_rad, tilted_by_view
from gan2shape.shape.reconstruct import Reconstruction
from gan2shape.synth.render import TruthRender, render_object

EDGES_DEG = (0, 30, 65, 181)
FAR = 1.1  # of what lies beside the object
LEAST_AREA = 0.3  # canonical pixels that a lifted pixel shows
FUSED_YAWS_DEG = (-30.0, -22.0, -15.0, -8.0, 8.0, 15.0, 22.0, 30.0)
GAUGE_YAWS_DEG = (-24.0, -12.0, 12.0, 24.0)
SCALES = (0.55, 0.7, 0.85, 1.0, 1.2, 1.45, 1.75)
TILTS = (-0.04, -0.02, 0.0, 0.02, 0.04)  # per half the width
SCALE_SD, TILT_SD = 0.3, 0.025  # of the prior: of log scale, and of tilt
TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # of a cost, in parts of its mean


@dataclass(frozen=True)
class Case:
    """An object and what is known of it."""

    item: ExamObject
    made: Reconstruction
    flat: dict[str, float]

    @property
    def depth(self) -> Tensor:
        return self.made.scene.depth

    @property
    def inside(self) -> Tensor:
        return (self.made.observation.mask > 0.5).float()

    def score(self, depth: Tensor) -> tuple[float, float]:
        """SIDE and MAD, of flat."""
        found = of_flat(score_depth(depth, self.item.depth, self.item.mask, self.item.fov_deg), self.flat)
        return found["side_of_flat"], found["mad_of_flat"]


@dataclass(frozen=True)
class Bench:
    """A category's networks and objects."""

    generator: MaskedGenerator
    config: ShapeConfig
    known: SceneNetworks
    upright: Tensor  # the mean image
    cases: list[Case]

    @property
    def headings(self) -> np.ndarray:
        return np.array([heading_deg(case.item) for case in self.cases])

    def measure(self, images: Tensor) -> Tensor:
        """Depth as one pass gives it."""
        shape = self.config.initial
        depth = mirror_mean_depth(self.known, images, shape.network_depth_scale)
        return tilted_by_view(depth, images, self.known, self.generator.prior, shape.network_tilt)

    def read_turns(self, images: Tensor, own: Tensor, by: str, asked: Tensor) -> Tensor:
        """Views of pictures against the input's picture: `asked`, by `V`, or by the `attributes`."""
        views = asked.clone()
        if by == "V":
            both = read_pitch_yaw_rad(self.known, torch.cat([own, images]), self.upright)
            views[:, 1] = both[1:, 1] - both[0, 1]
        elif by == "attributes":
            heading = self.generator.prior.attributes.read(torch.cat([own, images])).heading_rad
            turn = heading[1:] - heading[0]
            views[:, 1] = torch.atan2(turn.sin(), turn.cos())
        return views


def open_bench(category: str, count: int) -> Bench:
    """The bundled pack and validation objects, in one pass."""
    generator, config = open_measured(BenchRequest(category=category, preset="instant"))
    items = exam_objects(category, "val", count, config.render.resolution)
    made = in_one_pass([item.image for item in items], [None] * count, generator, config)
    flats = [score_depth(torch.ones_like(item.depth), item.depth, item.mask, item.fov_deg) for item in items]
    prior = generator.prior
    upright = prior.generator.synthesis(prior.w_mean[None]).clamp(-1, 1)
    cases = [Case(*one) for one in zip(items, made, flats, strict=True)]
    return Bench(generator, config, pretrained_networks(prior, config), upright, cases)


def report(name: str, scores: np.ndarray, base: np.ndarray, headings: np.ndarray) -> None:
    """One line: all objects, then by heading."""
    cells = []
    for low, high in ((0, 181), *pairwise(EDGES_DEG)):
        rows = np.flatnonzero((headings >= low) & (headings < high))
        if len(rows) < 2:
            continue
        gaps = [paired_interval(scores[rows, i], base[rows, i]) for i in range(2)]
        mean = scores[rows].mean(0)
        shown = ", ".join(f"{gap:+.3f} ± {half:.3f}" for gap, half in gaps)
        cells.append(f"{low}-{high} (n={len(rows)}) {mean[0]:.3f} / {mean[1]:.3f} d {shown}")
    print(f"{name:44s} " + " | ".join(cells), flush=True)


def fitted(case: Case, scale: bool, ramps: list[Tensor]) -> tuple[Tensor, np.ndarray]:
    """The depth with the scale and planes that are nearest to the truth, and the coefficients (scale last)."""
    mask = score_mask(case.item.mask)
    parts = [torch.ones_like(case.depth), *ramps, *([case.depth] if scale else [])]
    columns = torch.stack([part.expand_as(case.depth)[mask] for part in parts], 1).double()
    wanted = (case.item.depth if scale else case.item.depth - case.depth)[mask].double()
    found = torch.linalg.lstsq(columns, wanted[:, None]).solution[:, 0]
    depth = sum(float(one) * part for one, part in zip(found, parts, strict=True))
    return depth if scale else depth + case.depth, found.numpy()


def with_gauge(case: Case, scale: float, tilt: float) -> Tensor:
    """The depth at another scale about its mean, tilted sideways about the object's middle."""
    weight, ramp = case.inside / case.inside.sum(), across(case.depth)
    mean, middle = (weight * case.depth).sum(), (weight * ramp).sum()
    return mean + scale * (case.depth - mean) + tilt * (ramp - middle)


def ladder(bench: Bench) -> None:
    """Oracles."""
    cases, headings, size = bench.cases, bench.headings, bench.config.render.resolution
    ramp = torch.linspace(-1.0, 1.0, size)
    sideways, down = ramp.view(1, 1, 1, -1), ramp.view(1, 1, -1, 1)
    base = np.array([case.score(case.depth) for case in cases])
    report("one pass", base, base, headings)
    oracles = {
        "scale": (True, []), "sideways tilt": (False, [sideways]), "plane": (False, [sideways, down]),
        "scale and sideways tilt": (True, [sideways]), "scale and plane": (True, [sideways, down]),
    }  # fmt: skip
    for name, (scale, ramps) in oracles.items():
        report(f"best {name}", np.array([case.score(fitted(case, scale, ramps)[0]) for case in cases]), base, headings)
    best = np.array([fitted(case, True, [sideways])[1] for case in cases])
    signs = np.array([math.copysign(1, float(case.item.view[0, 1])) for case in cases])
    half, depths = len(cases) // 2, []
    bins = np.digitize(headings, EDGES_DEG)
    for case, sign, own in zip(cases, signs, bins, strict=True):
        rows = half + np.flatnonzero(bins[half:] == own)
        scale, tilt = (best[rows, 2].mean(), (signs * best[:, 1])[rows].mean()) if len(rows) else (1.0, 0.0)
        depths.append(with_gauge(case, scale, sign * tilt))
    scores = np.array([case.score(depth) for case, depth in zip(cases, depths, strict=True)])
    report("one scale and tilt a bin (first half)", scores[:half], base[:half], headings[:half])
    for low, high in pairwise(EDGES_DEG):
        rows = np.flatnonzero((headings >= low) & (headings < high))
        if len(rows):
            scale = np.array([fitted(cases[i], True, [])[1][-1] for i in rows])
            print(f"best scale at {low}-{high}: mean {scale.mean():.2f}, sd {scale.std():.2f}, n = {len(rows)}")


def turned(bench: Bench, latent: Tensor, yaws_deg: tuple[float, ...], n_steps: int) -> tuple[Tensor, Tensor]:
    """Pictures and masks of T, turned in equal steps."""
    step = torch.zeros(len(yaws_deg), 6)
    step[:, 0] = torch.deg2rad(torch.tensor(yaws_deg)) / n_steps
    latents = latent.expand(len(yaws_deg), *latent.shape[1:])
    for _ in range(n_steps):
        latents = latents + bench.generator.prior.editing(latents, step)
    return bench.generator(latents)


def reach(bench: Bench) -> None:
    """What is read of turns that are asked for."""
    own_turn = torch.tensor([float(case.item.view[0, 1]) for case in bench.cases])
    for n_steps, yaw_deg in ((1, 10), (1, 20), (2, 30), (3, 45), (4, 60), (6, 90)):
        read, same, area = [], [], []
        for case in bench.cases:
            latent = case.made.observation.latent
            images, masks = turned(bench, latent, (float(-yaw_deg), 0.0, float(yaw_deg)), n_steps)
            seen = bench.generator.prior.attributes.read(images)
            turn = seen.heading_rad[[0, 2]] - seen.heading_rad[1]
            read.append(torch.rad2deg(torch.atan2(turn.sin(), turn.cos())))
            same.append((seen.embedding[[0, 2]] * seen.embedding[1]).sum(1))
            area.append(masks[[0, 2]].mean((1, 2, 3)) / masks[1].mean())
        turns = torch.stack(read) * torch.tensor([-1.0, 1.0])
        towards = own_turn.sign()[:, None] * torch.tensor([-1.0, 1.0]) < 0
        print(
            f"{yaw_deg:3d} degrees in {n_steps}: read {turns.mean():5.1f}, sd {turns.std():4.1f}, to the front "
            f"{turns[towards].mean():5.1f}, away {turns[~towards].mean():5.1f}, "
            f"identity {torch.stack(same).mean():.2f}, mask {torch.stack(area).mean():.2f}"
        )


def true_turned(case: Case, views: Tensor) -> TruthRender:
    """The true object in turned views, under its light."""
    item = case.item
    whole = compose_views(item.view.expand(len(views), 6), views)
    background = tuple(float(value) for value in item.background)
    light = item.light.expand(len(views), 4)
    return render_object(item.mesh(), whole, light, item.image.shape[-1], item.fov_deg, background)


def backed(depth: Tensor, inside: Tensor) -> Tensor:
    """The depth with a far plane beside the object."""
    return torch.where(inside > 0.5, depth, depth.new_tensor(FAR))


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Along the first dimension, in closed form."""
    order = values.argsort(0)
    total = weights.gather(0, order).cumsum(0)
    place = (total < total[-1:] / 2).sum(0, keepdim=True).clamp_max(len(values) - 1)
    return values.gather(0, order).gather(0, place)


def fused(case: Case, seen: Tensor, masks: Tensor, views: Tensor) -> Tensor:
    """The weighed median of the one-pass depth and of depths of other views."""
    own = render_depth(backed(case.depth, case.inside), views, far=FAR)
    both = (warp(case.inside, own[2]) > 0.9) * (visible_area(own[2]) > 0.5) * (masks > 0.5)
    gap = (both * (seen - own[0])).sum((2, 3), keepdim=True) / both.sum((2, 3), keepdim=True).clamp_min(1)
    back, _, grid = render_depth(backed(seen - gap, masks), inverse_view(views), far=FAR)
    area = visible_area(grid)
    weight = (warp((masks > 0.5).float(), grid) > 0.95) * (area > LEAST_AREA) * area.clamp(0, 1)
    return weighted_median(torch.cat([case.depth, back]), torch.cat([case.inside + 1e-3, weight]))


def fuse(bench: Bench) -> None:
    """Rung 6."""
    scores: dict[str, list] = {}
    for case in bench.cases:
        asked = yaw_views(FUSED_YAWS_DEG, case.depth)
        own = bench.generator(case.made.observation.latent)[0]
        images, masks = turned(bench, case.made.observation.latent, FUSED_YAWS_DEG, 2)
        depths = {"one pass": case.depth}
        for by in ("asked", "V", "attributes"):
            views = bench.read_turns(images, own, by, asked)
            depths[f"T, view by {by}"] = fused(case, bench.measure(images), masks, views)
        true = true_turned(case, asked)
        depths["true renders, their depth measured"] = fused(case, bench.measure(true.image), true.mask, asked)
        depths["true renders, true depth"] = fused(case, true.depth, true.mask, asked)
        for name, depth in depths.items():
            scores.setdefault(name, []).append(case.score(depth))
    for name, rows in scores.items():
        report(name, np.array(rows), np.array(scores["one pass"]), bench.headings)


def spread(masks: Tensor) -> tuple[Tensor, Tensor]:
    """(middle, standard deviation) along x of masks."""
    at, area = across(masks), masks.sum((1, 2, 3)).clamp_min(1e-3)
    middle = (masks * at).sum((1, 2, 3)) / area
    return middle, ((masks * at.square()).sum((1, 2, 3)) / area - middle.square()).clamp_min(1e-6).sqrt()


def moved(pictures: Tensor, right: Tensor) -> Tensor:
    """Pictures moved to the right by parts of half a width."""
    turn = torch.eye(2, 3).repeat(len(pictures), 1, 1)
    turn[:, 0, 2] = -right
    grid = F.affine_grid(turn, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def disagreement(case: Case, family: Tensor, own: Tensor, images: Tensor, masks: Tensor, views: Tensor) -> Tensor:
    """Of each depth's turned outline, width and colours with those of the pictures: [3, depths]."""
    costs, source = torch.zeros(3, len(family)), torch.cat([case.inside, own], 1)
    for view, image, mask in zip(views, images, (masks > 0.5).float(), strict=True):
        _, _, grid = render_depth(backed(family, case.inside), view.expand(len(family), -1), far=FAR)
        got = warp(source, grid)
        outline = (got[:, :1] > 0.9).float()
        (middle, width), (wanted, wanted_width) = spread(outline), spread(mask[None])
        shifted = moved(torch.cat([outline, outline * (visible_area(grid) > 0.5), got[:, 1:]], 1), wanted - middle)
        share = torch.minimum(shifted[:, :1], mask).sum((1, 2, 3)) / torch.maximum(shifted[:, :1], mask).sum((1, 2, 3))
        both = shifted[:, 1:2] * mask
        colour = (both * (shifted[:, 2:] - image).abs().mean(1, keepdim=True)).sum((1, 2, 3))
        colour = colour / both.sum((1, 2, 3)).clamp_min(1)
        costs += torch.stack([1 - share, (width / wanted_width).log().square(), colour])
    return costs / len(views)


def projected(bench: Bench, case: Case, views: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures and masks of turned renders, projected by the encoder."""
    camera, made = bench.config.render, case.made
    every = torch.cat([views, torch.zeros_like(views[:1])])
    rendered = render_scene(made.scene, every, made.scene.light, camera.fov_deg, made.canvas).image
    latents = bench.generator.prior.guess_latent(rendered)
    return bench.generator(made.observation.latent + latents[:-1] - latents[-1:])


def gauge(bench: Bench) -> None:
    """Rung 3."""
    scale, tilt = (one.flatten() for one in torch.meshgrid(torch.tensor(SCALES), torch.tensor(TILTS), indexing="ij"))
    costs: dict[str, list[Tensor]] = {}
    for case in bench.cases:
        family = torch.cat([with_gauge(case, *one) for one in zip(scale, tilt, strict=True)])
        own, asked = bench.generator(case.made.observation.latent)[0], yaw_views(GAUGE_YAWS_DEG, case.depth)
        true = true_turned(case, asked)
        given = (case, family, case.item.image, true.image, true.mask, asked)
        costs.setdefault("true renders, true turns", []).append(disagreement(*given))
        by_t = turned(bench, case.made.observation.latent, GAUGE_YAWS_DEG, 1)
        for name, (images, masks) in {"T": by_t, "encoder": projected(bench, case, asked)}.items():
            for by in ("attributes", "V", "asked")[: 3 if name == "T" else 2]:
                views = bench.read_turns(images, own, by, asked)
                found = disagreement(case, family, own, images, masks, views)
                costs.setdefault(f"{name}, turns by {by}", []).append(found)
    base, half = np.array([case.score(case.depth) for case in bench.cases]), len(bench.cases) // 2
    report("one pass", base[:half], base[:half], bench.headings[:half])
    away = 0.5 * ((scale.log() / SCALE_SD).square() + (tilt / TILT_SD).square())
    for name, rows in costs.items():
        cost = torch.stack(rows)
        cost = cost - cost.amin(2, keepdim=True)
        cost = cost / cost.mean((0, 2))[:, None]
        for what, some in {"outline": [0], "width": [1], "colours": [2], "outline and colours": [0, 2]}.items():
            for kind, allowed in {"scale": tilt.abs() < 1e-6, "scale, tilt": torch.ones_like(tilt) > 0}.items():
                trials = []
                for temperature in TEMPERATURES:
                    say = (-cost[:, some].mean(1) / temperature - away).masked_fill(~allowed, -torch.inf).softmax(1)
                    found = zip(bench.cases, (say @ scale.log()).exp(), say @ tilt, strict=True)
                    trials.append(np.array([case.score(with_gauge(case, *one)) for case, *one in found]))
                best = min(range(len(trials)), key=lambda i: trials[i][half:, 0].mean())
                label = f"{name}: {what}; {kind} ({TEMPERATURES[best]:g})"
                report(label, trials[best][:half], base[:half], bench.headings[:half])


@torch.no_grad()
def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trial", choices=("ladder", "reach", "fuse", "gauge"))
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    bench = open_bench(given.category, given.count or (32 if given.trial in ("reach", "fuse") else 64))
    {"ladder": ladder, "reach": reach, "fuse": fuse, "gauge": gauge}[given.trial](bench)


if __name__ == "__main__":
    main()
