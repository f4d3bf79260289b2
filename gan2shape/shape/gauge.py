"""The gauges of a depth map: what images do not fix, as pure functions."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.nn.scene_networks import SceneNetworks

SMALLEST_RELIEF = 1e-4  # of distance 1: below it a shape is flat and has no relief to scale
SMALLEST_MOMENT = 1e-3  # square pixels of half the width, keeps the plane's equations solvable
GAUSSIAN_REACH = 3.0  # sd after which a Gaussian is cut off
LEAST_COVER = 1e-3  # share of a Gaussian within the mask that a mean needs


def relief(depth: Float[Tensor, "1 1 S S"], mask: Float[Tensor, "1 1 S S"]) -> Float[Tensor, ""]:
    """Standard deviation of the depth inside the mask."""
    weight = mask / mask.sum().clamp_min(1.0)
    return (weight * (depth - (weight * depth).sum()).square()).sum().sqrt()


def tilt_across(depth: Float[Tensor, "1 1 S S"], mask: Float[Tensor, "1 1 S S"]) -> Float[Tensor, ""]:
    """Slope along x of the plane nearest to the depth inside the mask, per half the image's width."""
    side = torch.linspace(-1.0, 1.0, depth.shape[-1], device=depth.device)
    columns = torch.stack([torch.ones_like(depth), side.expand_as(depth), side[:, None].expand_as(depth)], -1)
    columns = columns.flatten(0, 3)
    weighted = columns * mask.reshape(-1, 1)
    damping = SMALLEST_MOMENT * torch.eye(3, device=depth.device)  # a mask of one row or column has no such plane
    return torch.linalg.solve(weighted.t() @ columns + damping, weighted.t() @ depth.flatten())[1]


def coarse_part(
    values: Float[Tensor, "1 1 S S"], mask: Float[Tensor, "1 1 S S"], sd_px: float
) -> Float[Tensor, "1 1 S S"]:
    """What is left of `values` inside the mask under a Gaussian of this sd; pixels outside do not count. Nothing far
    outside.
    """
    from kornia.filters import gaussian_blur2d  # late: it takes a second, which a run without stages does not need

    side = 2 * math.ceil(GAUSSIAN_REACH * sd_px) + 1

    def blurred(x: Tensor) -> Tensor:
        return gaussian_blur2d(x, side, (sd_px, sd_px), border_type="constant")

    return blurred(values * mask) / blurred(mask).clamp_min(LEAST_COVER)


def restore_gauge(networks: SceneNetworks, image: Float[Tensor, "1 3 S S"], mask: Float[Tensor, "1 1 S S"]) -> None:
    """Scale the depth so that the object's relief, less its sideways tilt, is its start's, then tilt it sideways as
    its start was.

    Relief and yaw are one gauge at a narrow field of view, and so are, nearly, a sideways tilt
    and the mean of the yaws (the generalised bas-relief ambiguity of Belhumeur et al. 1999). Projections inherit
    both from what was projected, and turn more than was asked: every stage would deepen the shape and let it lean.
    How deep objects of a category are, and to which side this one leans, is known better than that
    (`prior_shape.relief`, `slant`). The tilt upwards is found well, and stays.
    """
    with torch.no_grad():
        depth = networks.depth(image)
        lean, found_lean = tilt_across(networks.start, mask), tilt_across(depth, mask)
        found = relief(depth - found_lean * networks.across, mask).clamp_min(SMALLEST_RELIEF)
        scale = relief(networks.start - lean * networks.across, mask) / found
        networks.relief_scale.mul_(scale)
        networks.correction.mul_(scale)
        networks.correction.add_((lean - scale * found_lean) * networks.across)


def keep_fine_form(
    networks: SceneNetworks, image: Float[Tensor, "1 3 S S"], mask: Float[Tensor, "1 1 S S"], scale: float, share: float
) -> None:
    """Keep `share` of what differs from the start more finely than `scale`, a part of the image's side, and nothing
    of the rest.

    Projections of one object tell fine form well and coarse form badly: what they get wrong (turns followed in
    part, silhouettes of drawings without sides) is smooth. A start that thousands of objects have taught knows that
    better. Of what is fine a part is the noise of these few samples.
    """
    with torch.no_grad():
        change = networks.depth(image) - networks.start
        fine = change - coarse_part(change, mask, scale * mask.shape[-1])
        networks.correction.add_(share * fine - change)
