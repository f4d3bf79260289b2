"""Effect-GAN that shows what was asked for, and keeps what the generator cannot make.

Two things make E's projections worse than they need be (docs/editing.md has the figures). They turn only a part of the
way, because the render that they follow lacks the flanks of the object: so latents are moved until the pack's attribute
network (`measure.attributes`) reads the wanted heading and light in G(w), and the same object as in the input. And the
inversion misses detail: so what it misses in the input is carried along with the surface.

Both depend on how far the object turns: guidance grows and the detail fades until `FULL_DEG`, so that nothing jumps.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.records import Observation, Render
from gan2shape.edit.controls import Pose
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.measure.attributes import AttributeNetwork
from gan2shape.prior.packs import Prior
from gan2shape.scene.camera import rotation
from gan2shape.scene.light import light_in_front, rotate_light
from gan2shape.scene.render import visible_area, warp

N_STEPS, LR = 25, 0.03  # Adam on latents
HEADING_WEIGHT, LIGHT_WEIGHT, IDENTITY_WEIGHT, NEAR_WEIGHT = 4.0, 0.3, 1.0, 0.05
FULL_DEG = 10.0  # of the angle between the view and the input's
LEAST_AREA = 0.5  # canonical pixels that a target pixel shows, below which the surface is stretched: no detail there


def turned_part(poses: Sequence[Pose], like: Tensor) -> Float[Tensor, " N"]:
    """How much of guidance there is, and how little of the input's detail: 0 in the input's view, 1 from `FULL_DEG`."""
    angles = [math.hypot(pose.yaw_deg, pose.pitch_deg, pose.roll_deg) for pose in poses]
    return like.new_tensor([min(1.0, angle / FULL_DEG) for angle in angles])


def guided(
    latents: Float[Tensor, "N *L D"],
    poses: Sequence[Pose],
    observation: Observation,
    network: AttributeNetwork,
    prior: Prior,
) -> Float[Tensor, "N *L D"]:
    """Latents near the given ones in whose images the network reads the poses, and the input's object."""
    part = turned_part(poses, latents)
    turned = [i for i in range(len(poses)) if poses[i].yaw_deg]
    if not turned:
        return latents
    start, own = latents[turned].detach(), network.read(observation.image)
    yaw_rad = start.new_tensor([math.radians(poses[i].yaw_deg) for i in turned])
    lights, is_lit = wanted_lights([poses[i] for i in turned], own.light)
    free = nn.Parameter(start.clone())

    def loss_of(step: Step) -> Tensor:
        seen = network.read(prior.generator.synthesis(free).clamp(-1, 1))
        heading = 1 - torch.cos(seen.heading_rad - own.heading_rad - yaw_rad)
        light = is_lit * (seen.light - lights)[:, 2:].square().sum(1)
        identity = 1 - (seen.embedding * own.embedding).sum(1)
        near = ((free - start) / prior.w_std).square().flatten(1).mean(1)
        terms = ((HEADING_WEIGHT, heading), (LIGHT_WEIGHT, light), (IDENTITY_WEIGHT, identity), (NEAR_WEIGHT, near))
        return sum(weight * term for weight, term in terms).sum()

    optimise([free], loss_of, Plan((Stage("guidance", N_STEPS, LR),)))
    moved = latents.clone()
    moved[turned] = torch.lerp(start, free.detach(), part[turned].view(-1, *(1,) * (start.ndim - 1)))
    return moved


def wanted_lights(
    poses: Sequence[Pose], own: Float[Tensor, "1 4"]
) -> tuple[Float[Tensor, "N 4"], Float[Tensor, " N"]]:
    """The poses' lights in the frames of their cameras, and 1 where that is in front of the object, else 0. `own`: of
    the input, where its camera's frame is the canonical one.
    """
    lights = torch.cat([pose.light(own) for pose in poses])
    turn = rotation(torch.cat([pose.view(own) for pose in poses])[:, :3])
    in_front = light_in_front(lights, turn)
    lights = torch.where(in_front[:, None], lights, torch.zeros_like(lights))
    turn = torch.where(in_front[:, None, None], turn, torch.eye(3, device=turn.device, dtype=turn.dtype))
    return rotate_light(lights, turn), in_front.to(lights)


def with_detail(
    images: Float[Tensor, "N 3 S S"],
    masks: Float[Tensor, "N 1 S S"],
    rendered: Render,
    poses: Sequence[Pose],
    missed: Float[Tensor, "1 3 S S"],
) -> Float[Tensor, "N 3 S S"]:
    """Images of the generator with what its inversion `missed` in the input, where the surface has moved to."""
    kept = (1 - turned_part(poses, images))[:, None, None, None]
    if not bool((kept > 0).any()):
        return images
    is_whole = (visible_area(rendered.grid) / LEAST_AREA).clamp(0, 1)
    moved = warp(missed, rendered.grid) * rendered.covered * is_whole
    both = torch.minimum(masks, rendered.mask)
    stays = (kept == 1).to(both)  # in the input's own view the background's detail stays too
    return (images + kept * moved * torch.maximum(both, stays)).clamp(-1, 1)
