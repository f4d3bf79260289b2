"""The two effects of an edit: the recovered scene rendered ("effect-3D"), and with it what the generator makes of the
new view and light ("effect-GAN"): wheels and hair follow, and what the input hides is made up.

What is edited is anything that has a scene and can project renders of it: a `shape` reconstruction. The package knows
no more of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig
from gan2shape.core.records import Observation, Render, Scene
from gan2shape.edit.carried import turned_part, with_detail, with_seen_surface
from gan2shape.edit.controls import Pose
from gan2shape.edit.guided import guided
from gan2shape.edit.latents import with_offset
from gan2shape.measure.attributes import light_within
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

    def project(self, rendered: Render, reference: Float[Tensor, "1 3 S S"]) -> Float[Tensor, "B *L D"]:
        """Latents of renders of this object; `reference`, a render of the input's view and light, has the input's."""

    def refine(self, latents: Float[Tensor, "B *L D"], rendered: Render, n_steps: int) -> Float[Tensor, "B *L D"]:
        """Latents after some steps towards renders."""

    def read_pose(self, image: Float[Tensor, "1 3 S S"]) -> tuple[Float[Tensor, "1 2"], Float[Tensor, "1 4"]]:
        """(pitch and yaw against the input, light) that the scene networks see in another picture."""


@dataclass(frozen=True)
class Effect:
    """N poses of one object."""

    rendered: Render  # effect-3D, with the input's detail
    latents: Float[Tensor, "N *L D"] | None = None  # of effect-GAN
    images: Float[Tensor, "N 3 S S"] | None = None  # effect-GAN, in [-1, 1]
    masks: Float[Tensor, "N 1 S S"] | None = None  # the object in them, where the generator's features show it


@dataclass(frozen=True)
class Own:
    """What the scene and the generator make of the input itself, and what they miss."""

    render: Float[Tensor, "1 3 S S"]
    not_rendered: Float[Tensor, "1 3 S S"]  # input less render: rims, and where the albedo was clipped
    not_generated: Float[Tensor, "1 3 S S"]  # input less G(w)


def own_of(subject: Editable) -> Own:
    """Of the input's own view and light."""
    render, image = own_render(subject), subject.observation.image
    return Own(render, image - render, image - generated(subject.generator, subject.observation.latent)[0])


@torch.no_grad()
def render_poses(subject: Editable, poses: Sequence[Pose]) -> Render:
    """The scene in N poses; `with_own_detail` makes it effect-3D."""
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
    subject: Editable,
    rendered: Render,
    poses: Sequence[Pose],
    offset: Float[Tensor, "1 *L D"] | None = None,
    n_refine: int = N_REFINE,
    own: Own | None = None,
) -> Effect:
    """Effect-GAN of poses and their renders: latents of the poses in one pass (`latents_of`), refined, and guided where
    the pack can read what they show (edit/guided.py); in their images the input's surface stays where it is seen
    (edit/carried.py). Without refinement nothing is guided either.

    offset: latent edits, which are added to each latent; the generator's images are shown as they are then. own: of
    `own_of`, where it is known.
    """
    own, prior, parts = own_of(subject) if own is None else own, subject.generator.prior, []
    shown = with_own_detail(rendered, poses, own)
    for start in range(0, len(poses), BATCH):
        rows = torch.arange(start, min(start + BATCH, len(poses)))
        some, asked = rendered.pick(rows), poses[start : start + BATCH]
        latents = latents_of(subject, some, asked, own)
        if n_refine:
            latents = refined(subject, latents, some, asked, n_refine)
        if n_refine and prior.attributes is not None:
            latents = guided(latents, asked, subject.observation, prior.attributes, prior)
        latents = with_offset(latents, offset)
        images, masks = generated(subject.generator, latents)
        if offset is None:
            objects = some.mask if masks is None else masks
            images = with_seen_surface(images, objects, shown.pick(rows), own.not_generated)
        parts.append((latents, images, masks))
    latents, images, masks = zip(*parts, strict=True)
    return Effect(shown, torch.cat(latents), torch.cat(images), None if masks[0] is None else torch.cat(masks))


def latents_of(subject: Editable, rendered: Render, poses: Sequence[Pose], own: Own) -> Float[Tensor, "N *L D"]:
    """Latents in which the generator shows the poses, in one pass: by the pack's editing network, where it has one and
    nothing rolls (it has learnt yaw, pitch and light); else the renders, projected by E.
    """
    network = subject.generator.prior.editing
    by_network = [i for i, pose in enumerate(poses) if network is not None and not pose.roll_deg]
    by_render = [i for i in range(len(poses)) if i not in by_network]
    latents = subject.observation.latent.repeat(len(poses), *(1,) * (subject.observation.latent.ndim - 1))
    if by_network:
        change = changes([poses[i] for i in by_network], subject.scene.light)
        with torch.no_grad():
            latents[by_network] += network(latents[by_network], change)
    if by_render:
        latents[by_render] = subject.project(rendered.pick(torch.tensor(by_render)), own.render)
    return latents


def refined(
    subject: Editable, latents: Float[Tensor, "N *L D"], rendered: Render, poses: Sequence[Pose], n_steps: int
) -> Float[Tensor, "N *L D"]:
    """Latents of other views nearer to their renders. Nothing is refined for another light alone: the render has the
    input's detail, which is carried along anyway.
    """
    part = turned_part(poses, latents)
    turned = [i for i, pose in enumerate(poses) if pose.yaw_deg or pose.pitch_deg or pose.roll_deg]
    if not turned:
        return latents
    near = subject.refine(latents[turned], rendered.pick(torch.tensor(turned)), n_steps)
    moved = latents.clone()
    moved[turned] = torch.lerp(latents[turned], near, part[turned].view(-1, *(1,) * (latents.ndim - 1)))
    return moved


def changes(poses: Sequence[Pose], own: Float[Tensor, "1 4"]) -> Float[Tensor, "N 6"]:
    """Poses as the editing network takes them (`nn.editing.CHANGE`). own: the input's light."""
    views = torch.cat([pose.view(own) for pose in poses])
    lights = torch.cat([pose.light(own) for pose in poses])
    return torch.cat([views[:, [1, 0]], lights - own], 1)


def with_own_detail(rendered: Render, poses: Sequence[Pose], own: Own) -> Render:
    """Effect-3D: renders with what the render of the input's own pose misses in the input."""
    return replace(rendered, image=with_detail(rendered.image, rendered.mask, rendered, poses, own.not_rendered))


def input_effect(subject: Editable, offset: Float[Tensor, "1 *L D"] | None) -> Effect:
    """Effect-GAN in the input's own view and light: its latent with the latent edits, without any projection. Without
    such edits it is the input.
    """
    latents = with_offset(subject.observation.latent, offset)
    images, masks = generated(subject.generator, latents)
    shown = subject.observation.image if offset is None else images
    rendered = render_poses(subject, [Pose()])
    return Effect(replace(rendered, image=subject.observation.image), latents, shown, masks)


def effect_of(
    subject: Editable, pose: Pose, offset: Float[Tensor, "1 *L D"] | None = None, n_refine: int = N_REFINE
) -> Effect:
    """Both effects of one pose."""
    if pose.is_input:
        return input_effect(subject, offset)
    return project_poses(subject, render_poses(subject, [pose]), [pose], offset, n_refine)


@torch.no_grad()
def generated(
    generator: MaskedGenerator, latents: Float[Tensor, "B *L D"]
) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 1 S S"] | None]:
    """The generator's images and masks of latents."""
    return generator(latents)


def pose_like(
    subject: Editable, image: Float[Tensor, "1 3 S S"], light: Float[Tensor, "1 4"] | None = None
) -> tuple[Pose, Pose]:
    """(the view, the light) of another picture, as a pose each. `light`: where it is known and need not be read.

    Yaw and light are read by the pack's attribute network, where it has one. Raises UserError where the picture shows
    another side of the object, which no edit can show.
    """
    angles, seen = subject.read_pose(image)
    attributes, box = subject.generator.prior.attributes, subject.config.lights
    if attributes is not None:
        with torch.no_grad():
            heading = attributes.read(torch.cat([subject.observation.image, image])).heading_rad
            seen = light_within(attributes, image, box.lx, box.ly)
        turn = heading[1] - heading[0]
        angles = torch.stack([angles[0, 0], torch.atan2(turn.sin(), turn.cos())])[None]
    pitch_deg, yaw_deg = torch.rad2deg(angles[0]).tolist()
    ambient, diffuse, lx, ly = (seen if light is None else light)[0].tolist()
    return (
        Pose(yaw_deg=yaw_deg, pitch_deg=pitch_deg),
        Pose(direction=(lx, ly), ambient=max(ambient, 0.0), diffuse=max(diffuse, 0.0)),
    )
