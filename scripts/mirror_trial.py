"""What do mirror images tell of depth? Validation objects (shape/symmetry.py).

    python scripts/mirror_trial.py errors --category head [--pack weights/head] [--count 32]
    python scripts/mirror_trial.py alone --category head [--pack weights/head] [--count 24]

errors: how badly mirror images are explained, per pixel of the object, by the true depth, by what the pack's depth
network sees in the true image, and by the mean of both; at the true plane of symmetry and the true light, with the same
pixels for all three. Then how far planes and lights are from the truth: as the networks read them, and as descent finds
them. alone: what becomes of SIDE, aligned SIDE and MAD if each object's depth descends on its own mirror error, at the
true plane and light.
"""

import argparse

import torch
from torch import Tensor
from torch.nn import functional as F

from gan2shape.bench.exam import exam_objects
from gan2shape.bench.opening import open_measured
from gan2shape.bench.requests import BenchRequest
from gan2shape.bench.score import score_depth
from gan2shape.core.config import ShapeConfig
from gan2shape.core.images import resized
from gan2shape.measure.statistics import mean_interval
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.scene import pretrained_networks
from gan2shape.scene.camera import rotation
from gan2shape.scene.mirror import MirrorPlanes
from gan2shape.shape.initialize import mirror_mean_depth
from gan2shape.shape.losses import smoothness
from gan2shape.shape.pool import Pool
from gan2shape.shape.state import target_from
from gan2shape.shape.symmetry import SymmetryPlan, mirror_errors, planes_near, read_planes

PLAN = SymmetryPlan()
GRIDS, RATE, SMOOTH, EVERY = (4, 8, 16), 5e-4, 0.1, 20  # of the descent on single depths
FAR = 1.08  # where nothing is


def opened(category: str, pack: str | None) -> tuple[MaskedGenerator, ShapeConfig, SceneNetworks]:
    """The pack, settings and scene networks."""
    generator, config = open_measured(BenchRequest(category, generator=pack))
    return generator, config, pretrained_networks(generator.prior, config)


def truth_of(category: str, count: int, size: int) -> tuple[Pool, Tensor, MirrorPlanes]:
    """Validation objects as a pool, their depths, planes and lights."""
    items = exam_objects(category, "val", count, size)
    targets = [target_from(item.image, item.mask) for item in items]
    images, masks = (torch.cat([getattr(item, name) for item in items]) for name in ("image", "mask"))
    backgrounds = torch.cat([target.canvas.background for target in targets])
    surfaces, latents = torch.cat([target.surface for target in targets]), torch.zeros(len(items), 1)
    normals = rotation(torch.cat([item.view for item in items])[:, :3])[:, :, 0]  # the object's own x axis
    yaw_rad = torch.atan2(normals[:, 1:].norm(dim=1) * -normals[:, 2].sign(), normals[:, 0])
    pitch_rad = torch.atan2(normals[:, 1] * -normals[:, 2].sign(), normals[:, 2].abs())  # noise at yaw 0
    lights = torch.cat([item.light for item in items])
    planes = MirrorPlanes(yaw_rad, pitch_rad, torch.zeros_like(yaw_rad), lights)
    depths = torch.where(masks > 0.5, torch.cat([resized(item.depth, size) for item in items]), FAR)
    return Pool(images, masks, latents, latents, backgrounds, surfaces), depths, planes


@torch.no_grad()
def print_errors(pool: Pool, truth: Tensor, seen: Tensor, planes: MirrorPlanes, config: ShapeConfig) -> None:
    """Mirror errors at the true plane and light."""
    for name, depth in (("true depth", truth), ("half-way", (truth + seen) / 2), ("depth network", seen)):
        errors = mirror_errors(pool, depth, truth, planes, config, PLAN)
        mean, half = mean_interval(errors.tolist())
        print(f"{name:16s} {mean:.4f} +- {half:.4f}")


def print_planes(pool: Pool, seen: Tensor, planes: MirrorPlanes, networks, generator, config) -> None:
    """Distance of planes and lights from the truth."""
    read = read_planes(networks, pool, generator)
    found = planes_near(pool, seen, read, read, config, PLAN)
    for name, one in (("read", read), ("found", found)):
        yaw = (one.yaw_rad - planes.yaw_rad).abs().rad2deg()
        slope = (one.yaw_rad * planes.yaw_rad).sum() / planes.yaw_rad.square().sum()
        light = (one.lights - planes.lights).abs().mean(0)
        print(f"{name:16s} yaw {yaw.mean():.1f} deg (slope {slope:.2f}), "
              f"ambient {light[0]:.3f}, diffuse {light[1]:.3f}, lx {light[2]:.3f}, ly {light[3]:.3f}")  # fmt: skip


def scores(depth: Tensor, truth: Tensor, pool: Pool, fov_deg: float) -> str:
    """Means of SIDE, aligned SIDE and MAD."""
    parts = zip(*(one.split(1) for one in (depth, truth, pool.masks)), strict=True)
    rows = [score_depth(*part, fov_deg) for part in parts]
    return " / ".join(f"{sum(row[key] for row in rows) / len(rows):.3f}" for key in ("side", "side_aligned", "mad_deg"))


def descend_alone(pool: Pool, truth: Tensor, seen: Tensor, planes: MirrorPlanes, config: ShapeConfig) -> None:
    """Each object's own depth, as a sum of coarse grids, on its own mirror error."""
    grids = [torch.zeros(len(seen), 1, size, size, requires_grad=True) for size in GRIDS]
    optimizer, unit = torch.optim.Adam(grids, RATE), config.render.depth_half_range
    for step in range(3 * EVERY + 1):
        change = sum(F.interpolate(grid, seen.shape[-2:], mode="bilinear", align_corners=False) for grid in grids)
        errors = mirror_errors(pool, seen + change, seen, planes, config, PLAN)
        if step % EVERY == 0:
            found = scores((seen + change).detach(), truth, pool, config.render.fov_deg)
            print(f"step {step:3d}: error {errors.mean():.4f}, SIDE / aligned / MAD {found}", flush=True)
        optimizer.zero_grad()
        (errors.sum() + len(seen) * SMOOTH * smoothness(change, unit)).backward()
        optimizer.step()


def main() -> None:
    """Print what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("errors", "alone"))
    parser.add_argument("--category", default="head")
    parser.add_argument("--pack")
    parser.add_argument("--count", type=int, default=32)
    asked = parser.parse_args()
    generator, config, networks = opened(asked.category, asked.pack)
    pool, truth, planes = truth_of(asked.category, asked.count, config.render.resolution)
    with torch.no_grad():
        seen = mirror_mean_depth(networks, pool.images, config.initial.network_depth_scale)
    if asked.what == "alone":
        descend_alone(pool, truth, seen, planes, config)
        return
    print_errors(pool, truth, seen, planes, config)
    print_planes(pool, seen, planes, networks, generator, config)


if __name__ == "__main__":
    main()
