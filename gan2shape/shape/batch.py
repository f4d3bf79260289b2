"""Many images in one pass: each gets what `reconstruct` gives it alone where nothing is optimised.

That is so where the inversion is the encoder's guess, the initial depth is the depth network's without fusion and relit
pictures, and no stage follows (preset instant). The networks then see whole batches; what depends on one image's mask
is done for each.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.records import Observation
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.masked_generator import MaskedGenerator, require_mask
from gan2shape.prior.scene import pretrained_networks
from gan2shape.shape.confidence import confidence_of
from gan2shape.shape.gauge import depth_base, depth_from_raw
from gan2shape.shape.initialize import DEPTH_NETWORK, depth_and_mirrored, take_view_and_light, tilted_by_view
from gan2shape.shape.observe import require_object
from gan2shape.shape.reconstruct import Reconstruction, finished
from gan2shape.shape.state import Progress, make_target, new_state, scene_with, target_from
from gan2shape.shape.verdict import Guess, inversion_figures, verdicts_of

BATCH = 32  # images that the networks see at once


def is_one_pass(generator: MaskedGenerator, config: ShapeConfig) -> bool:
    """Whether nothing is optimised for an image under this configuration."""
    shape = config.initial
    is_bare = config.n_stages == 0 and config.invert.n_steps == 0 and not config.invert.encoder
    is_bare = is_bare and not shape.fusion_yaws_deg and not shape.relit_cutoff
    return is_bare and generator.prior.encoder is not None and category_networks_of(generator, config) is not None


def category_networks_of(generator: MaskedGenerator, config: ShapeConfig) -> SceneNetworks | None:
    """The pack's scene networks, where the initial depth is theirs."""
    return pretrained_networks(generator.prior, config) if config.initial.use_depth_network else None


@torch.no_grad()
def in_one_pass(
    images: Sequence[Float[Tensor, "1 3 S S"]],
    masks: Sequence[Float[Tensor, "1 1 S S"] | None],
    generator: MaskedGenerator,
    config: ShapeConfig,
) -> list[Reconstruction | UserError]:
    """A result for each image, or why there is none. `is_one_pass` holds; masks are predicted where there are none."""
    began = time.perf_counter()
    if any(mask is None for mask in masks):
        require_mask(generator)
    prior, half_range, fov_deg = generator.prior, config.render.depth_half_range, config.render.fov_deg
    known, device = category_networks_of(generator, config), prior.w_mean.device
    state = new_state(config, prior.w_mean.shape[-1], device)
    take_view_and_light(state.model, known)
    state.model.networks.to(memory_format=torch.channels_last)  # as `known`, and faster
    given = torch.cat(list(images)).to(device)
    latents = prior.guess_latent(given)
    made, predicted = generator(latents)
    guess = None if generator.head is None else Guess(latents, made, predicted)
    seen = made if config.ablation.learn_from_inversion else given
    of_seen = depth_and_mirrored(known, seen, config.initial.network_depth_scale)
    depths = tilted_by_view(sum(of_seen) / 2, seen, known, prior, config.initial.network_tilt)
    raws, lights = state.model.networks.depth_net(seen), state.model.networks.lights(seen)
    seconds = {"batch": (time.perf_counter() - began) / len(given)}
    progress, found = Progress(initial=DEPTH_NETWORK, seconds=seconds), []
    observations = [
        Observation(given[i : i + 1], predicted[i : i + 1] if mask is None else mask.to(device), latents[i : i + 1],
                    is_inverted=True, has_given_mask=mask is not None)
        for i, mask in enumerate(masks)
    ]  # fmt: skip
    bases = [depth_base(depth[None], half_range) for depth in depths]
    depths = torch.cat([depth_from_raw(raw[None], base, half_range) for raw, base in zip(raws, bases, strict=True)])
    all_masks = torch.cat([one.mask for one in observations])
    confidence = confidence_of(given, seen, all_masks, depths, prior, config, of_seen)
    verdicts, figures = verdicts_of(observations, generator, guess), inversion_figures(observations, generator, made)
    for i, observation in enumerate(observations):
        row, mask = slice(i, i + 1), observation.mask
        try:
            require_object(mask)
        except UserError as error:
            found.append(error)
            continue
        own = replace(state, model=replace(state.model, base=bases[i]))
        target = target_from(seen[row], mask) if seen is made else make_target(observation)
        scene = scene_with(own.model, target, depths[row], lights[row], fov_deg)
        sure = None if confidence is None else confidence[row]
        told = (verdicts[i], sure, figures[i])
        found.append(finished(observation, (scene,), own, target, progress, generator, config, *told))
    return found
