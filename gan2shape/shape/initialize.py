"""Networks that know a category before they meet an object, as a pack carries them (made by `pretraining`).

They say what the loop starts from: a depth in the place of the ellipsoid, and view and light networks that have read
thousands of images. Relief is a gauge that images do not fix (`SceneNetworks.restore_gauge` says why): one factor per
category is chosen on validation objects, as the ellipsoid's is.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig
from gan2shape.nn.scene_networks import SceneNetworks, as_depth
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.shape.fusion import seen_from_around
from gan2shape.shape.stages import Target


def category_depth(
    networks: SceneNetworks, images: Float[Tensor, "B 3 S S"], relief_gain: float = 1.0
) -> Float[Tensor, "B 1 S S"]:
    """Depth of each image about distance 1, its relief times `relief_gain`."""
    return 1.0 + relief_gain * (as_depth(networks.depth_net(images), networks.depth_half_range) - 1.0)


def both_ways_depth(
    networks: SceneNetworks, images: Float[Tensor, "B 3 S S"], relief_gain: float = 1.0
) -> Float[Tensor, "B 1 S S"]:
    """Mean of the depth of each image and of its mirror image, turned back: what the network says of a thing and of its
    mirror image should not differ, and what differs is error.
    """
    seen = category_depth(networks, images, relief_gain)
    return (seen + category_depth(networks, images.flip(-1), relief_gain).flip(-1)) / 2


def read_turns_rad(
    networks: SceneNetworks, images: Float[Tensor, "B 3 S S"], reference: Float[Tensor, "1 3 S S"]
) -> Float[Tensor, "B 2"]:
    """Pitch and yaw of each image relative to `reference`, mean over the image and its mirror image, which has the same
    pitch and the opposite yaw.
    """
    both = torch.cat([images, images.flip(-1)])
    seen, mirrored = networks.views(both, reference)[:, :2].unflatten(0, (2, -1))
    return (seen + mirrored * mirrored.new_tensor([1.0, -1.0])) / 2


def tilted(depth: Float[Tensor, "B 1 S S"], slopes: Float[Tensor, "B 2"]) -> Float[Tensor, "B 1 S S"]:
    """Depth plus a plane that rises by the first slope from the middle to the bottom, by the second from it to the
    right.
    """
    side = torch.linspace(-1.0, 1.0, depth.shape[-1], device=depth.device)
    down, right = slopes[:, None, None, None].unbind(-1)
    return depth + down * side[:, None] + right * side


@torch.no_grad()
def begin_pretrained(
    networks: SceneNetworks,
    known: SceneNetworks,
    target: Target,
    generator: MaskedGenerator,
    config: ShapeConfig,
) -> None:
    """Put `networks` where those of the category see the target: depth as the start (measured from around, where that
    helps), view and light as weights.

    Upright is what the prior's mean image is.

    A new depth network learns what this object adds. (Tuning the category's own depth network, as published, undid in a
    hundred steps what thousands of images had taught it.)
    """

    def measure(images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 S S"]:
        return both_ways_depth(known, images, config.prior_shape.pretrained_relief_gain)

    depth = measure(target.image)
    if config.prior_shape.turns_deg and generator.prior.encoder is not None:
        depth = seen_from_around(depth, measure, target, generator, config)
    if any(config.prior_shape.pretrained_tilt):
        upright = generator.prior.generator.synthesis(generator.prior.w_mean[None]).clamp(-1, 1)
        slopes = depth.new_tensor(config.prior_shape.pretrained_tilt) * read_turns_rad(known, target.image, upright)
        depth = tilted(depth, slopes)
    networks.start_from(depth)
    for name in ("view_net", "light_net"):
        getattr(networks, name).load_state_dict(getattr(known, name).state_dict())
