"""The two effects of an edit: the recovered scene rendered ("effect-3D"), and that render pulled onto the generator's
images ("effect-GAN"), where wheels, hair and background follow.

What is edited is anything that has a scene and can project renders of it: a `shape` reconstruction. The package knows
no more of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig
from gan2shape.core.records import Observation, Render, Scene
from gan2shape.edit.controls import Pose
from gan2shape.edit.latents import with_offset
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.canvas import Canvas
from gan2shape.scene.render import render_scene

N_REFINE = 10  # Adam steps on an edited latent after E, towards the render
BATCH = 8  # poses at once


@runtime_checkable
class Editable(Protocol):
    """One reconstructed image."""

    config: ShapeConfig
    observation: Observation
    generator: MaskedGenerator

    @property
    def scene(self) -> Scene:
        """Depth, albedo and light in the input's own view."""

    @property
    def canvas(self) -> Canvas:
        """Where the object is in the input, and what lies behind it."""

    def project(
        self, rendered: Render, reference: Float[Tensor, "1 3 S S"], n_refine: int = 0
    ) -> Float[Tensor, "B *L D"]:
        """Latents of renders of this object; `reference`, a render of the input's view and light, has the input's."""

    def read_pose(self, image: Float[Tensor, "1 3 S S"]) -> tuple[Float[Tensor, "1 2"], Float[Tensor, "1 4"]]:
        """(pitch and yaw against the input, light) that the scene networks see in another picture."""


@dataclass(frozen=True)
class Effect:
    """N poses of one object."""

    rendered: Render  # effect-3D
    latents: Float[Tensor, "N *L D"] | None = None  # of effect-GAN
    images: Float[Tensor, "N 3 S S"] | None = None  # effect-GAN, in [-1, 1]
    masks: Float[Tensor, "N 1 S S"] | None = None  # the object in them, where the generator's features show it


@torch.no_grad()
def render_poses(subject: Editable, poses: Sequence[Pose]) -> Render:
    """Effect-3D of N poses."""
    scene, light = subject.scene, subject.scene.light
    views = torch.cat([pose.view(light) for pose in poses])
    lights = torch.cat([pose.light(light) for pose in poses])
    camera = subject.config.render
    return render_scene(scene, views, lights, camera.fov_deg, subject.canvas, backend=camera.backend)


def own_render(subject: Editable) -> Float[Tensor, "1 3 S S"]:
    """The scene in the input's own view and light. Projections are read relative to it, so that what the renderer adds
    to a picture cancels, and a pose that changes nothing has the input's latent.
    """
    return render_poses(subject, [Pose()]).image


def project_poses(
    subject: Editable, rendered: Render, offset: Float[Tensor, "1 *L D"] | None = None, n_refine: int = N_REFINE
) -> Effect:
    """Effect-GAN of rendered poses. `offset`: latent edits, which are added to each projection."""
    reference, count = own_render(subject), len(rendered.image)
    parts = []
    for rows in torch.arange(count, device=rendered.image.device).split(BATCH):
        latents = with_offset(subject.project(rendered.pick(rows), reference, n_refine), offset)
        parts.append((latents, *generated(subject.generator, latents)))
    latents, images, masks = zip(*parts, strict=True)
    return Effect(rendered, torch.cat(latents), torch.cat(images), None if masks[0] is None else torch.cat(masks))


def input_effect(subject: Editable, offset: Float[Tensor, "1 *L D"] | None) -> Effect:
    """Effect-GAN in the input's own view and light: its latent with the latent edits, without any projection."""
    latents = with_offset(subject.observation.latent, offset)
    return Effect(render_poses(subject, [Pose()]), latents, *generated(subject.generator, latents))


def effect_of(
    subject: Editable, pose: Pose, offset: Float[Tensor, "1 *L D"] | None = None, n_refine: int = N_REFINE
) -> Effect:
    """Both effects of one pose."""
    if pose.is_input:
        return input_effect(subject, offset)
    return project_poses(subject, render_poses(subject, [pose]), offset, n_refine)


@torch.no_grad()
def generated(
    generator: MaskedGenerator, latents: Float[Tensor, "B *L D"]
) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 1 S S"] | None]:
    """The generator's images and masks of latents."""
    return generator(latents)


def pose_like(
    subject: Editable, image: Float[Tensor, "1 3 S S"], light: Float[Tensor, "1 4"] | None = None
) -> tuple[Pose, Pose]:
    """(the view, the light) of another picture, as a pose each. `light`: where it is known and need not be read."""
    angles, seen = subject.read_pose(image)
    pitch_deg, yaw_deg = torch.rad2deg(angles[0]).tolist()
    ambient, diffuse, lx, ly = (seen if light is None else light)[0].tolist()
    return (
        Pose(yaw_deg=yaw_deg, pitch_deg=pitch_deg),
        Pose(direction=(lx, ly), ambient=max(ambient, 0.0), diffuse=max(diffuse, 0.0)),
    )
