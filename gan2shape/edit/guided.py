"""Effect-GAN that shows what was asked for.

E's projections turn only a part of the way (docs/editing.md has the figures), because the render that they follow lacks
the flanks of the object. So latents are moved until the pack's attribute network (`measure.attributes`) reads the
wanted heading and light in G(w), and the same object as in the input. Guidance grows with the angle, so that nothing
jumps.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.records import Observation
from gan2shape.edit.carried import turned_part
from gan2shape.edit.controls import Pose
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.measure.attributes import AttributeNetwork
from gan2shape.prior.packs import Prior
from gan2shape.scene.camera import rotation
from gan2shape.scene.light import light_in_front, rotate_light

N_STEPS, LR = 25, 0.03  # Adam on latents
HEADING_WEIGHT, LIGHT_WEIGHT, IDENTITY_WEIGHT, NEAR_WEIGHT = 4.0, 0.3, 1.0, 0.05


def guided(
    latents: Float[Tensor, "N *L D"],
    poses: Sequence[Pose],
    observation: Observation,
    network: AttributeNetwork,
    prior: Prior,
) -> Float[Tensor, "N *L D"]:
    """Latents near the given ones in whose images the network reads the poses, and the input's object.

    Light is left to the pack's editing network where it has one: moved until that reads right as well, a strong light
    from the side becomes a patch of another colour.
    """
    part = turned_part(poses, latents)
    turned = [i for i in range(len(poses)) if poses[i].yaw_deg]
    if not turned:
        return latents
    start, own = latents[turned].detach(), network.read(observation.image)
    yaw_rad = start.new_tensor([math.radians(poses[i].yaw_deg) for i in turned])
    lights, is_lit = wanted_lights([poses[i] for i in turned], own.light)
    free, light_weight = nn.Parameter(start.clone()), LIGHT_WEIGHT if prior.editing is None else 0.0

    def loss_of(step: Step) -> Tensor:
        seen = network.read(prior.generator.synthesis(free).clamp(-1, 1))
        heading = 1 - torch.cos(seen.heading_rad - own.heading_rad - yaw_rad)
        light = is_lit * (seen.light - lights)[:, 2:].square().sum(1)
        identity = 1 - (seen.embedding * own.embedding).sum(1)
        near = ((free - start) / prior.w_std).square().flatten(1).mean(1)
        terms = ((HEADING_WEIGHT, heading), (light_weight, light), (IDENTITY_WEIGHT, identity), (NEAR_WEIGHT, near))
        return sum(weight * term for weight, term in terms).sum()

    optimise([free], loss_of, Plan((Stage("guidance", N_STEPS, LR),)))
    moved = latents.clone()
    moved[turned] = torch.lerp(start, free.detach(), part[turned].view(-1, *(1,) * (start.ndim - 1)))
    return moved


def wanted_lights(
    poses: Sequence[Pose], own: Float[Tensor, "1 4"]
) -> tuple[Float[Tensor, "N 4"], Float[Tensor, " N"]]:
    """`in_camera` of poses. `own`: of the input, where its camera's frame is the canonical one."""
    return in_camera(torch.cat([pose.view(own) for pose in poses]), torch.cat([pose.light(own) for pose in poses]))


def in_camera(
    views: Float[Tensor, "N 6"], lights: Float[Tensor, "N 4"]
) -> tuple[Float[Tensor, "N 4"], Float[Tensor, " N"]]:
    """Lights of the canonical frame in those of the views' cameras, and 1 where that is in front of the object, else
    0.
    """
    turn = rotation(views[:, :3])
    in_front = light_in_front(lights, turn)
    lights = torch.where(in_front[:, None], lights, torch.zeros_like(lights))
    turn = torch.where(in_front[:, None, None], turn, torch.eye(3, device=turn.device, dtype=turn.dtype))
    return rotate_light(lights, turn), in_front.to(lights)
