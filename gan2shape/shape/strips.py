"""Rotation and relight strips: the scene as rendered ("effect-3D") and the same pulled onto the GAN by E
("effect-GAN").
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.config import ShapeConfig
from gan2shape.core.records import Render, Scene
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.camera import yaw_views
from gan2shape.scene.render import render_scene
from gan2shape.shape.projection import project
from gan2shape.shape.state import Target

ROTATE_YAWS_DEG = (-45.0, -33.75, -22.5, -11.25, 0.0, 11.25, 22.5, 33.75, 45.0)  # published: 9 views over +-45 for cars
RELIGHT_LX = (-1.5, -0.7, 0.0, 0.7, 1.5)  # published demo lights, image-left to image-right
RELIGHT_NAMES = ("far left", "left", "front", "right", "far right")  # where each light stands
RELIGHT_LY = -0.4  # somewhat from above
RELIGHT_AMBIENT, RELIGHT_DIFFUSE = 0.3, 0.8  # a directional look


def relights(device: torch.device | str) -> Float[Tensor, "N 4"]:
    """The lights of the relight strip, canonical frame."""
    return torch.tensor([[RELIGHT_AMBIENT, RELIGHT_DIFFUSE, lx, RELIGHT_LY] for lx in RELIGHT_LX], device=device)


@torch.no_grad()
def effect_strips(
    scene: Scene,
    target: Target,
    encoder: nn.Module,
    latent: Float[Tensor, "1 *L D"],
    generator: MaskedGenerator,
    config: ShapeConfig,
) -> tuple[dict[str, Float[Tensor, "N 3 S S"]], dict[str, list[str]]]:
    """(images by strip, captions by strip): rotate_3d, rotate_gan, relight_3d, relight_gan."""
    views, lights = yaw_views(ROTATE_YAWS_DEG, scene.depth), relights(scene.depth.device)
    fov_deg, canvas, backend = config.render.fov_deg, target.canvas, config.render.backend
    rotated = render_scene(scene, views, scene.light.expand(len(views), 4), fov_deg, canvas, backend=backend)
    relit = render_scene(scene, views.new_zeros(len(lights), 6), lights, fov_deg, canvas, backend=backend)

    def through_gan(rendered: Render) -> Tensor:
        latents, _ = project(encoder, generator.prior, latent, rendered.image, target.image, config)
        return generator(latents)[0]

    yaw_labels = [f"{yaw:+.0f} deg" for yaw in ROTATE_YAWS_DEG]
    light_labels = list(RELIGHT_NAMES)
    images = {
        "rotate_3d": rotated.image,
        "rotate_gan": through_gan(rotated),
        "relight_3d": relit.image,
        "relight_gan": through_gan(relit),
    }
    return images, {name: yaw_labels if name.startswith("rotate") else light_labels for name in images}
