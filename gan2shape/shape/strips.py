"""Rotation and relight strips: the scene as rendered ("effect-3D") and the same pulled onto the GAN by E
("effect-GAN").
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.pseudo import Drawing, draw_scene
from gan2shape.shape.loop import Outcome
from gan2shape.shape.projection import project

ROTATE_YAWS_DEG = (-45.0, -33.75, -22.5, -11.25, 0.0, 11.25, 22.5, 33.75, 45.0)  # published: 9 views over +-45 for cars
RELIGHT_LX = (-1.5, -0.7, 0.0, 0.7, 1.5)  # published demo lights, image-left to image-right
RELIGHT_LY = -0.4  # a lamp somewhat above
RELIGHT_AMBIENT, RELIGHT_DIFFUSE = 0.3, 0.8  # a directional look


def yaw_views(yaws_deg: tuple[float, ...], device: torch.device | str) -> Float[Tensor, "N 6"]:
    """Views that differ from the input's by yaw alone."""
    views = torch.zeros(len(yaws_deg), 6)
    views[:, 1] = torch.tensor([math.radians(yaw) for yaw in yaws_deg])
    return views.to(device)


def relights(device: torch.device | str) -> Float[Tensor, "N 4"]:
    """The lamps of the relight strip, canonical frame."""
    return torch.tensor([[RELIGHT_AMBIENT, RELIGHT_DIFFUSE, lx, RELIGHT_LY] for lx in RELIGHT_LX], device=device)


@torch.no_grad()
def strips(
    outcome: Outcome, latent: Float[Tensor, "1 *L D"], generator: MaskedGenerator, config: ShapeConfig
) -> tuple[dict[str, Float[Tensor, "N 3 S S"]], dict[str, list[str]]]:
    """(images by strip, captions by strip): rotate_3d, rotate_gan, relight_3d, relight_gan."""
    scene, canvas = outcome.scenes[-1], outcome.target.canvas
    device = scene.depth.device
    views, lamps = yaw_views(ROTATE_YAWS_DEG, device), relights(device)
    rotated = draw_scene(scene, canvas, views, scene.light.expand(len(views), 4), config.render)
    relit = draw_scene(scene, canvas, views.new_zeros(len(lamps), 6), lamps, config.render)

    def through_gan(drawn: Drawing) -> Tensor:
        reference = outcome.target.image
        latents, _ = project(outcome.learner.encoder, generator.prior, latent, drawn.image, reference, config.steps)
        return generator(latents)[0]

    yaw_labels = [f"{yaw:+.0f} deg" for yaw in ROTATE_YAWS_DEG]
    lamp_labels = [f"lamp x {lx:+.1f}" for lx in RELIGHT_LX]
    images = {
        "rotate_3d": rotated.image,
        "rotate_gan": through_gan(rotated),
        "relight_3d": relit.image,
        "relight_gan": through_gan(relit),
    }
    return images, {name: yaw_labels if name.startswith("rotate") else lamp_labels for name in images}
