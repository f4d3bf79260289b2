"""The initial depth: an ellipsoid with a slant, or the estimate of a pack's depth network.

A pack's networks have learnt from thousands of single images (shape/pretrain.py). Their depth is the mean over the
image and its mirror image, over a few views of the object where that helps (shape/fusion.py), is tilted by the view
that their view network estimates, and gets fine form from relit pictures (shape/relit.py). Depth scale and tilt are
numbers of the pack's calibration. Where there are such networks, no ellipsoid is computed.
"""

import time
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig
from gan2shape.core.progress import Reporter
from gan2shape.nn.scene_networks import SceneNetworks, as_depth
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.packs import Prior
from gan2shape.prior.scene import pretrained_networks
from gan2shape.shape.ellipsoid import choose_slant, ellipsoid_model, fit_to_ellipsoid
from gan2shape.shape.fusion import fused_depth
from gan2shape.shape.gauge import depth_base
from gan2shape.shape.relit import takes_relit_form, with_relit_form
from gan2shape.shape.state import ObjectState, Progress, SceneModel, Target

ELLIPSOID, DEPTH_NETWORK = "ellipsoid", "depth network"  # `Progress.initial`


def initialize(
    state: ObjectState,
    target: Target,
    latent: Float[Tensor, "1 *L D"],
    generator: MaskedGenerator,
    config: ShapeConfig,
    report: Reporter,
) -> tuple[ObjectState, Progress]:
    """The state at its initial depth, and what that is."""
    began = time.perf_counter()
    known = pretrained_networks(generator.prior, config) if config.initial.use_depth_network else None
    if known is not None:
        model, slant_deg = from_depth_network(state.model, known, target, generator, config), 0.0
    else:
        slant_deg = choose_slant(state, target, latent, generator, config, report)
        if config.ablation.fit_ellipsoid:
            model = fit_to_ellipsoid(state.model, target, config, slant_deg, report)
        else:
            model = ellipsoid_model(state.model, target.canvas.mask, config, slant_deg)
    name = ELLIPSOID if known is None else DEPTH_NETWORK
    seconds = {"initialize": time.perf_counter() - began}
    return replace(state, model=model), Progress(initial=name, slant_deg=slant_deg, seconds=seconds)


@torch.no_grad()
def from_depth_network(
    model: SceneModel, known: SceneNetworks, target: Target, generator: MaskedGenerator, config: ShapeConfig
) -> SceneModel:
    """The model at the depth that the category's networks estimate: depth as base, view and light networks as weights.

    A new depth network learns what this object adds. (Tuning the category's own depth network, as published, undid in
    a hundred steps what thousands of images had taught it.)
    """
    shape, prior = config.initial, generator.prior

    def measure(images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 S S"]:
        return mirror_mean_depth(known, images, shape.network_depth_scale)

    depth = measure(target.image)
    if shape.fusion_yaws_deg and prior.encoder is not None:
        depth = fused_depth(depth, measure, target, generator, shape.fusion_yaws_deg, config.render)
    depth = tilted_by_view(depth, target.image, known, prior, shape.network_tilt)
    if takes_relit_form(generator, config):
        depth = with_relit_form(depth, target, known, generator, config)
    take_view_and_light(model, known)
    return replace(model, base=depth_base(depth, config.render.depth_half_range))


def take_view_and_light(model: SceneModel, known: SceneNetworks) -> None:
    """Copy the weights of the category's view and light networks into the model's."""
    for name in ("view_net", "light_net"):
        getattr(model.networks, name).load_state_dict(getattr(known, name).state_dict())


def tilted_by_view(
    depth: Float[Tensor, "B 1 S S"],
    images: Float[Tensor, "B 3 S S"],
    known: SceneNetworks,
    prior: Prior,
    slopes_per_rad: tuple[float, float],
) -> Float[Tensor, "B 1 S S"]:
    """Depth tilted by the pitch and yaw that the view network reads, relative to the generator's mean image."""
    if not any(slopes_per_rad):
        return depth
    upright = prior.generator.synthesis(prior.w_mean[None]).clamp(-1, 1)
    return tilted(depth, depth.new_tensor(slopes_per_rad) * read_pitch_yaw_rad(known, images, upright))


def category_depth(
    networks: SceneNetworks, images: Float[Tensor, "B 3 S S"], depth_scale: float = 1.0
) -> Float[Tensor, "B 1 S S"]:
    """Depth of each image about distance 1, times `depth_scale` about it."""
    return 1.0 + depth_scale * (as_depth(networks.depth_net(images), networks.depth_half_range) - 1.0)


def mirror_mean_depth(
    networks: SceneNetworks, images: Float[Tensor, "B 3 S S"], depth_scale: float = 1.0
) -> Float[Tensor, "B 1 S S"]:
    """Mean of the depth of each image and of its mirror image."""
    own, mirrored = depth_and_mirrored(networks, images, depth_scale)
    return (own + mirrored) / 2


def depth_and_mirrored(
    networks: SceneNetworks, images: Float[Tensor, "B 3 S S"], depth_scale: float = 1.0
) -> tuple[Float[Tensor, "B 1 S S"], Float[Tensor, "B 1 S S"]]:
    """Depth of each image, and that of its mirror image, mirrored back: the two should be equal, and their difference
    is error.
    """
    own, mirrored = (category_depth(networks, seen, depth_scale) for seen in (images, images.flip(-1)))
    return own, mirrored.flip(-1)


def read_pitch_yaw_rad(
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
    ramp = torch.linspace(-1.0, 1.0, depth.shape[-1], device=depth.device)
    down, right = slopes[:, None, None, None].unbind(-1)
    return depth + down * ramp[:, None] + right * ramp
