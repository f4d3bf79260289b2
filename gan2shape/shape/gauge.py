"""The gauges of a depth map: what images do not fix, as pure functions.

The mean distance is one. At a narrow field of view depth scale and yaw are another, and so are, nearly, a sideways tilt
and the mean of the yaws (the generalised bas-relief ambiguity of Belhumeur et al. 1999).
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gan2shape.nn.published_scene_networks import BORDER_PX

STEEPEST = 0.98  # largest |depth - 1| of an initial depth over its half-range; tanh has no gradient beyond
MIN_DEPTH_SD = 1e-4  # of distance 1: below it a shape is flat and has no depth scale
MIN_MOMENT = 1e-3  # square pixels of half the width, keeps the plane's equations solvable
GAUSSIAN_REACH = 3.0  # sd after which a Gaussian is cut off
MIN_COVERAGE = 1e-3  # share of a Gaussian within the mask that a mean needs


@dataclass(frozen=True)
class DepthBase:
    """What an object's depth network adds to, and what was done about gauges since."""

    initial: Float[Tensor, "1 1 S S"]  # the depth that the stages begin at
    logits: Float[Tensor, "1 1 S S"]  # of its unit depth, before tanh
    scale: Float[Tensor, ""]  # factor on depth about distance 1
    correction: Float[Tensor, "1 1 S S"]  # added to depth


def depth_base(depth: Float[Tensor, "1 1 S S"], half_range: float) -> DepthBase:
    """The base of this initial depth: the network learns what is added to it, so that it is exact and costs no fit.

    (The published code fits the network to the ellipsoid for 1000 steps: `ellipsoid.fit_to_ellipsoid`.)
    """
    unit = (depth - depth.mean()) / half_range
    logits = torch.atanh(unit.clamp(-STEEPEST, STEEPEST))
    initial = 1.0 + half_range * torch.tanh(logits)
    return DepthBase(initial, logits, torch.ones_like(depth[0, 0, 0, 0]), torch.zeros_like(depth))


def flat_base(size: int, device: torch.device | str = "cpu") -> DepthBase:
    """The base of a plane: depth is the network's alone."""
    return depth_base(torch.ones(1, 1, size, size, device=device), 1.0)


def depth_from_raw(raw: Float[Tensor, "1 1 S S"], base: DepthBase, half_range: float) -> Float[Tensor, "1 1 S S"]:
    """1 + half-range tanh(base + network - mean network), scaled and corrected."""
    raw = base.logits + raw - raw.mean((1, 2, 3), keepdim=True)
    return 1.0 + base.scale * half_range * torch.tanh(raw) + base.correction


def with_border_columns(
    depth: Float[Tensor, "1 1 S S"], value: float, width_px: int = BORDER_PX
) -> Float[Tensor, "1 1 S S"]:
    """The depth with its first and last columns at `value`, as published: no surface is stretched beyond them."""
    return functional.pad(depth[..., width_px:-width_px], (width_px, width_px), value=value)


def across(like: Float[Tensor, "1 1 S S"]) -> Float[Tensor, "1 1 1 S"]:
    """-1 to 1 from the first to the last column."""
    return torch.linspace(-1.0, 1.0, like.shape[-1], device=like.device)[None, None, None, :]


def depth_sd(depth: Float[Tensor, "1 1 S S"], mask: Float[Tensor, "1 1 S S"]) -> Float[Tensor, ""]:
    """Standard deviation of the depth inside the mask."""
    weight = mask / mask.sum().clamp_min(1.0)
    return (weight * (depth - (weight * depth).sum()).square()).sum().sqrt()


def sideways_tilt(depth: Float[Tensor, "1 1 S S"], mask: Float[Tensor, "1 1 S S"]) -> Float[Tensor, ""]:
    """Slope along x of the plane nearest to the depth inside the mask, per half the image's width."""
    ramp = torch.linspace(-1.0, 1.0, depth.shape[-1], device=depth.device)
    columns = torch.stack([torch.ones_like(depth), ramp.expand_as(depth), ramp[:, None].expand_as(depth)], -1)
    columns = columns.flatten(0, 3)
    weighted = columns * mask.reshape(-1, 1)
    damping = MIN_MOMENT * torch.eye(3, device=depth.device)  # a mask of one row or column has no such plane
    return torch.linalg.solve(weighted.t() @ columns + damping, weighted.t() @ depth.flatten())[1]


@torch.no_grad()
def restore_gauge(base: DepthBase, depth: Float[Tensor, "1 1 S S"], mask: Float[Tensor, "1 1 S S"]) -> DepthBase:
    """The base under which `depth` has its initial depth scale (less the sideways tilt) and sideways tilt in `mask`.

    Projections inherit both gauges from the pseudo samples, and their view changes by another amount than the target:
    every stage would deepen the shape and tilt it. The initial depth knows both better. The tilt upwards is estimated
    well, and stays.
    """
    target, present = sideways_tilt(base.initial, mask), sideways_tilt(depth, mask)
    ramp = across(depth)
    present_sd = depth_sd(depth - present * ramp, mask).clamp_min(MIN_DEPTH_SD)
    scale = depth_sd(base.initial - target * ramp, mask) / present_sd
    correction = base.correction * scale + (target - scale * present) * ramp
    return replace(base, scale=base.scale * scale, correction=correction)


@torch.no_grad()
def keep_high_pass(
    base: DepthBase, depth: Float[Tensor, "1 1 S S"], mask: Float[Tensor, "1 1 S S"], cutoff: float, share: float
) -> DepthBase:
    """The base under which of `depth`'s change from the initial depth only `share` of its high-pass part is left.

    cutoff: sd of the Gaussian that divides coarse from fine, as a part of the image's width. Projections of one object
    show fine form well and coarse form badly: their errors (a response below 1, silhouettes of a height field without
    flanks) are smooth. An initial depth that thousands of objects have taught knows coarse form better. A part of the
    fine form is the noise of these few samples.
    """
    change = depth - base.initial
    fine = change - low_pass(change, mask, cutoff * mask.shape[-1])
    return replace(base, correction=base.correction + (share * fine - change))


def low_pass(
    values: Float[Tensor, "1 1 S S"], mask: Float[Tensor, "1 1 S S"], sd_px: float
) -> Float[Tensor, "1 1 S S"]:
    """What is left of `values` inside the mask under a Gaussian of this sd; pixels outside do not count. Nothing far
    outside.
    """
    from kornia.filters import gaussian_blur2d  # late: it takes a second, which a run without stages does not need

    kernel_px = 2 * math.ceil(GAUSSIAN_REACH * sd_px) + 1

    def blurred(x: Tensor) -> Tensor:
        return gaussian_blur2d(x, kernel_px, (sd_px, sd_px), border_type="constant")

    return blurred(values * mask) / blurred(mask).clamp_min(MIN_COVERAGE)
