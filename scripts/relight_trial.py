"""Why are relit pictures wrong, and what helps? Validation objects under two other lights against TRUE renders.

    python scripts/relight_trial.py --category car [--count 32] [--preset instant] [--gan]

Each row relights the input by the ratio of two shadings: of the light that is asked for, and of the input's own light.
First the parts that the method has found give way to true ones, one by one; then come ideas. The lights that are asked
for are those of `gan2shape bench edit`: lx = -.6 and .6, the true ly. Strengths stay the input's own. PSNR is taken
inside the true object, mean over both lights; d is the paired difference to the input left as it is. --gan adds the two
effects of `gan2shape edit` as it is, with the light of the scene and with the one that is read.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gan2shape.bench.edits import poses_for, true_renders
from gan2shape.bench.exam import ExamObject, exam_objects, seen_at
from gan2shape.bench.opening import open_measured
from gan2shape.bench.requests import BenchRequest
from gan2shape.edit.controls import Pose
from gan2shape.edit.effects import project_poses, render_poses
from gan2shape.measure.attributes import bundled_attributes
from gan2shape.measure.metrics import psnr_db
from gan2shape.measure.statistics import mean_interval, paired_interval
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.shape.observe import observe_image
from gan2shape.shape.read_light import with_read_light
from gan2shape.shape.reconstruct import Reconstruction, reconstruct

POSES = ("light left", "light right")
LEAST_SHADING = 0.1


@dataclass(frozen=True)
class Case:
    """An object: what was found of it, and the truth."""

    made: Reconstruction
    item: ExamObject
    poses: list[Pose]
    true: Tensor  # renders under the lights that are asked for
    inside: Tensor
    true_depth: Tensor  # continued beyond the outline
    read: Tensor  # the light that the attribute network reads in the input

    @property
    def light(self) -> Tensor:
        """Of the scene, as the method's light network reads it."""
        return self.made.scene.light


def continued(depth: Tensor, mask: Tensor) -> Tensor:
    """Depth that is known where the mask is whole, spread outwards from its rim, so that normals have neighbours."""
    known, ones = (mask > 0.99).to(depth), depth.new_ones(1, 1, 3, 3)
    depth = depth * known
    for _ in range(depth.shape[-1]):
        near, n = F.conv2d(depth * known, ones, padding=1), F.conv2d(known, ones, padding=1)
        depth = torch.where(known > 0, depth, near / n.clamp_min(1))
        known = (n > 0).to(depth)
    return depth


def blurred(values: Tensor, mask: Tensor, sd_px: float) -> Tensor:
    """The Gaussian mean inside a mask."""
    at = torch.arange(values.shape[-1], dtype=torch.float32)
    kernel = torch.exp(-0.5 * ((at[:, None] - at) / sd_px).square())
    return (kernel @ (values * mask) @ kernel) / (kernel @ mask @ kernel).clamp_min(1e-4)


def asked(case: Case, own: Tensor, part: float = 1.0) -> Tensor:
    """The lights that are asked for, or a part of the way to them."""
    lights = torch.cat([pose.light(own) for pose in case.poses])
    return torch.lerp(own.expand_as(lights), lights, part)


def ratio(case: Case, own: Tensor, depth: Tensor | None = None, part: float = 1.0, blur_px: float = 0.0) -> Tensor:
    """New shading over own shading; `blur_px` smooths the normals."""
    normals = normals_from_depth(case.made.scene.depth if depth is None else depth)
    if blur_px:
        normals = F.normalize(blurred(normals, case.made.observation.mask, blur_px), dim=1)
    return shade(normals, asked(case, own, part)) / shade(normals, own).clamp_min(LEAST_SHADING)


def relit(case: Case, change: Tensor) -> Tensor:
    """The input with its object's colour multiplied."""
    colour, mask = case.made.target.surface / 2 + 0.5, case.made.canvas.mask
    return (case.item.image + 2 * mask * colour * (change - 1)).clamp(-1, 1)


def mixed(first: Tensor, second: Tensor, columns: list[int]) -> Tensor:
    """A light with some of its numbers from another one."""
    found = first.clone()
    found[:, columns] = second[:, columns]
    return found


def rows() -> dict[str, Callable[[Case], Tensor]]:
    """The trials by name."""
    strengths, direction = [0, 1], [2, 3]

    def by(change: Callable[[Case], Tensor]) -> Callable[[Case], Tensor]:
        return lambda case: relit(case, change(case))

    found = {
        "the input left as it is": lambda case: case.item.image.expand(len(POSES), -1, -1, -1),
        "as found: light by L": by(lambda c: ratio(c, c.light)),
        "true depth": by(lambda c: ratio(c, c.light, c.true_depth)),
        "true strengths": by(lambda c: ratio(c, mixed(c.light, c.item.light, strengths))),
        "true direction": by(lambda c: ratio(c, mixed(c.light, c.item.light, direction))),
        "true light": by(lambda c: ratio(c, c.item.light)),
        "true light and depth": by(lambda c: ratio(c, c.item.light, c.true_depth)),
        "L: half of the change": by(lambda c: ratio(c, c.light, part=0.5)),
        "L: ratio within 1/1.5 and 1.5": by(lambda c: ratio(c, c.light).clamp(1 / 1.5, 1.5)),
        "L: ratio smoothed by 1 pixel": by(lambda c: blurred(ratio(c, c.light), c.made.observation.mask, 1.0)),
        "read light": by(lambda c: ratio(c, c.read)),
        "read light, direction alone": by(lambda c: ratio(c, mixed(c.light, c.read, direction))),
        "read light, .85 of the change": by(lambda c: ratio(c, c.read, part=0.85)),
        "read light, ratio within 1/1.3 and 1.3": by(lambda c: ratio(c, c.read).clamp(1 / 1.3, 1.3)),
    }
    for blur_px in (1.0, 2.5):
        found[f"read light, ratio smoothed by {blur_px:g} pixels"] = by(
            lambda c, blur_px=blur_px: blurred(ratio(c, c.read), c.made.observation.mask, blur_px)
        )
        found[f"read light, normals smoothed by {blur_px:g} pixels"] = by(
            lambda c, blur_px=blur_px: ratio(c, c.read, blur_px=blur_px)
        )
    found["read light, change times confidence"] = by(lambda c: 1 + c.made.confidence * (ratio(c, c.read) - 1))
    return found


def effects(case: Case) -> dict[str, Tensor]:
    """Both effects as `gan2shape edit` makes them."""
    found = {}
    for name, made in (("L", case.made), ("read light", with_read_light(case.made))):
        through = project_poses(made, render_poses(made, case.poses), case.poses)
        found |= {f"effect-3D, {name}": through.rendered.image, f"effect-GAN, {name}": through.images}
    return found


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--preset", default="instant")
    parser.add_argument("--gan", action="store_true", help="both effects, too")
    given = parser.parse_args()
    generator, config = open_measured(BenchRequest(category=given.category, preset=given.preset))
    attributes, trials, scores = bundled_attributes(given.category), rows(), {}
    lights = {"L": [], "the attribute network": [], "truth": []}
    for item in exam_objects(given.category, "val", given.count):
        item = seen_at(item, config.render.resolution)
        poses = {name: pose for name, pose in poses_for(item).items() if name in POSES}
        true = true_renders(item, poses)
        with torch.no_grad():
            made = reconstruct(observe_image(item.image, generator, config, None), generator, config)
            read = attributes.read(item.image).light
            rest = (true.images, true.masks > 0.5, continued(item.depth, item.mask), read)
            case = Case(made, item, list(poses.values()), *rest)
            images = {name: trial(case) for name, trial in trials.items()}
        images |= effects(case) if given.gan else {}
        for name, made_images in images.items():
            scores.setdefault(name, []).append(float(psnr_db(made_images, case.true, case.inside).mean()))
        for name, light in zip(lights, (case.light, read, item.light), strict=True):
            lights[name].append(light[0].numpy())
    true = np.stack(lights["truth"])
    for name in ("L", "the attribute network"):
        error = np.sqrt(np.square(np.stack(lights[name]) - true).mean(0))
        slope = [float(np.polyfit(true[:, i], np.stack(lights[name])[:, i], 1)[0]) for i in range(4)]
        print(f"light by {name}: rms error of ambient, diffuse, lx, ly {error.round(3)}, slope {np.round(slope, 2)}")
    base = np.array(next(iter(scores.values())))
    for name, values in scores.items():
        mean, half = mean_interval(np.array(values))
        change = paired_interval(np.array(values), base)
        print(f"{name:48s} {mean:6.2f} ± {half:.2f}   d {change[0]:+.2f} ± {change[1]:.2f}")


if __name__ == "__main__":
    main()
