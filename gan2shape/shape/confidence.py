"""Confidence of a recovered depth, pixel by pixel: what a run knows about its own errors, as maps, and the pack's
network that reads them (`nn.confidence`).

What tells: where the depth network disagrees with itself over the mirror image, and with the depth that multi-view
fusion and stages made of it; how the surface lies to the camera; how near the outline is; what is seen.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.config import ShapeConfig
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.packs import Prior
from gan2shape.prior.scene import pretrained_networks
from gan2shape.scene.light import normals_from_depth
from gan2shape.shape.initialize import depth_and_mirrored, mirror_mean_depth

INSIDE = 0.5  # of the mask
FARTHEST_PX = 16  # from the outline that is told apart
DEPTH_UNIT, SPREAD_UNIT, OUTLINE_UNIT = 0.03, 0.01, 8.0  # scene units, scene units, pixels: maps are then about 1
# Of each map in a mirrored picture: depth; normal x, y, z; image; mask; distance to the outline; image against mirror
# image; network against result in the picture that was measured and in the input; misfit; pixel x, y.
MIRRORED = (1.0, -1.0, *(1.0,) * 7, -1.0, *(1.0,) * 3, -1.0, 1.0)


@torch.no_grad()
def evidence_maps(
    images: Float[Tensor, "B 3 S S"],
    seen: Float[Tensor, "B 3 S S"],
    masks: Float[Tensor, "B 1 S S"],
    depth: Float[Tensor, "B 1 S S"],
    known: SceneNetworks,
    config: ShapeConfig,
    of_seen: tuple[Tensor, Tensor] | None = None,
) -> Float[Tensor, "B C S S"]:
    """What the confidence network sees of some objects.

    `seen`: the pictures that depth was measured in, G(w), or the images themselves; `depth`: the result; `of_seen`:
    `depth_and_mirrored` of `seen`, where it is known.
    """
    inside = (masks > INSIDE).to(depth)
    scale, size = config.initial.network_depth_scale, depth.shape[-1]
    own, mirrored = depth_and_mirrored(known, seen, scale) if of_seen is None else of_seen
    of_images = (own + mirrored) / 2 if images is seen else mirror_mean_depth(known, images, scale)
    at = torch.linspace(-1.0, 1.0, size, device=depth.device)
    return torch.cat(
        [
            centred(depth, inside) / DEPTH_UNIT,
            normals_from_depth(depth, config.render.fov_deg),
            images,
            masks,
            distance_to_outline(inside) / OUTLINE_UNIT,
            (own - mirrored) / SPREAD_UNIT,
            centred((own + mirrored) / 2 - depth, inside) / SPREAD_UNIT,
            centred(of_images - depth, inside) / SPREAD_UNIT,
            (images - seen).abs().mean(1, keepdim=True),
            at.expand_as(depth),
            at[:, None].expand_as(depth),
        ],
        1,
    )


def centred(values: Float[Tensor, "B 1 S S"], inside: Float[Tensor, "B 1 S S"]) -> Float[Tensor, "B 1 S S"]:
    """Without each map's mean inside; zero outside."""
    mean = (inside * values).sum((2, 3), keepdim=True) / inside.sum((2, 3), keepdim=True).clamp_min(1.0)
    return inside * (values - mean)


def distance_to_outline(inside: Float[Tensor, "B 1 S S"]) -> Float[Tensor, "B 1 S S"]:
    """Pixels from each inside pixel to the nearest outside one, along the longer axis, at most `FARTHEST_PX`; beyond
    the image nothing is outside.
    """
    distance = torch.zeros_like(inside)
    for _ in range(FARTHEST_PX):
        distance = distance + inside
        inside = -F.max_pool2d(-inside, 3, 1, 1)
    return distance


@torch.no_grad()
def confidence_of(
    images: Float[Tensor, "B 3 S S"],
    seen: Float[Tensor, "B 3 S S"],
    masks: Float[Tensor, "B 1 S S"],
    depth: Float[Tensor, "B 1 S S"],
    prior: Prior,
    config: ShapeConfig,
    of_seen: tuple[Tensor, Tensor] | None = None,
) -> Float[Tensor, "B 1 S S"] | None:
    """Confidence of depth in [0, 1], .5 where the expected error is the category's usual one; it means nothing beside
    the object. None where the pack has no network for it, or depth does not come from the pack's depth network.

    Arguments as of `evidence_maps`.
    """
    network = prior.confidence
    known = pretrained_networks(prior, config) if network is not None and config.initial.use_depth_network else None
    if known is None or network.config.resolution != depth.shape[-1]:
        return None
    return network.confidence(evidence_maps(images, seen, masks, depth, known, config, of_seen))
