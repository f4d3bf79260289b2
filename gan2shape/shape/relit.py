"""Form from relit pictures: photometric stereo on what the generator makes of the object under other lights.

A depth network smooths what single images do not tell. The generator knows how such an object looks under another
light: the input, relit with the coarse depth, is projected under a grid of lights, lights are read by the pack's own
light network, and normals are fitted (scene/photometric.py). Fine form is taken from them, coarse form stays. The same
is done with the mirror image, whose errors are others; the mean of the two is much better than either
(docs/trials.md). No label takes part.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.config import LightPriorConfig, ShapeConfig
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.scene.photometric import depth_with_normals, photometric_normals
from gan2shape.scene.render import render_input_view
from gan2shape.shape.state import Target, target_from

N_ACROSS, N_DOWN = 4, 4  # lights, over the box of the category's
NEARNESS = 0.02  # of normals to those of the coarse depth


def takes_relit_form(generator: MaskedGenerator, config: ShapeConfig) -> bool:
    """Whether an initial depth gets fine form from relit pictures."""
    return config.initial.relit_cutoff > 0 and generator.prior.encoder is not None


@torch.no_grad()
def with_relit_form(
    depth: Float[Tensor, "1 1 S S"],
    target: Target,
    known: SceneNetworks,
    generator: MaskedGenerator,
    config: ShapeConfig,
) -> Float[Tensor, "1 1 S S"]:
    """The depth with fine form from relit pictures of the object. Needs the pack's encoder and scene networks."""
    mask = target.canvas.mask
    mean = mean_relit_normals(depth, target, known, generator, config)
    return depth_with_normals(depth, mean, mask, config.initial.relit_cutoff * mask.shape[-1], config.render.fov_deg)


def mean_relit_normals(
    depth: Float[Tensor, "1 1 S S"],
    target: Target,
    known: SceneNetworks,
    generator: MaskedGenerator,
    config: ShapeConfig,
) -> Float[Tensor, "1 3 S S"]:
    """Normals of the object from relit pictures, near those of this depth: mean over the image and its mirror image."""
    normals = normals_from_depth(depth, config.render.fov_deg)
    mirrored = target_from(target.image.flip(-1), target.canvas.mask.flip(-1))
    found = relit_normals(normals, target, known, generator, config.lights)
    other = relit_normals(mirrored_normals(normals), mirrored, known, generator, config.lights)
    return F.normalize(found + mirrored_normals(other), dim=1)


def relit_normals(
    normals: Float[Tensor, "1 3 S S"],
    target: Target,
    known: SceneNetworks,
    generator: MaskedGenerator,
    box: LightPriorConfig,
) -> Float[Tensor, "1 3 S S"]:
    """Normals from projections of the target under a grid of lights, near the coarse ones."""
    own = known.lights(target.image)
    lights = light_grid(own, box)
    albedo = known.albedo(target.surface, shade(normals, own))
    rendered = render_input_view(albedo, shade(normals, lights), target.canvas)
    projected, _ = generator(generator.prior.guess_latent(rendered))
    intensity = (projected / 2 + 0.5).mean(1, keepdim=True)
    return photometric_normals(intensity, known.lights(projected), normals, NEARNESS)


def light_grid(own: Float[Tensor, "1 4"], box: LightPriorConfig) -> Float[Tensor, "K 4"]:
    """Lights of the own one's strengths whose directions fill the box."""
    across = torch.linspace(*box.lx, N_ACROSS, device=own.device).repeat_interleave(N_DOWN)
    down = torch.linspace(*box.ly, N_DOWN, device=own.device).repeat(N_ACROSS)
    return torch.cat([own[:, :2].expand(len(across), -1), torch.stack([across, down], 1)], 1)


def mirrored_normals(normals: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N 3 S S"]:
    """Normals of the mirror image."""
    return normals.flip(-1) * normals.new_tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)
