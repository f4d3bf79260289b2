"""Drawing the current scene as the GAN would see it: shaded object over a quiet background.

Masks are coverages and colours are kept apart from the background (`unmixed`), so that a turned outline has no halo.

Shading happens in the canonical frame; colour and mask are fetched by one `grid_sample` with the
grid of the drawn depth, never through the rasteriser's own gradient.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gan2shape.core.config import RenderConfig
from gan2shape.core.records import Scene
from gan2shape.scene.light import apply_light, normals_from_depth, shade
from gan2shape.scene.render import render_depth, warp

RIM_COVERED = 0.5  # coverage of a neighbour from which a pixel is taken to hold some of the object
THINNEST_UNMIXED = 0.25  # least coverage that a mixed colour is divided by


@dataclass(frozen=True)
class Canvas:
    """What stays the same while the scene is learnt: where the object is in the input, and what lies behind it."""

    mask: Float[Tensor, "#B 1 S S"]  # canonical object mask, in [0, 1]
    background: Float[Tensor, "#B 3 S S"]  # image without the object, in [-1, 1]


@dataclass(frozen=True)
class Drawing:
    """Pseudo samples: the scene under B views and lights."""

    image: Float[Tensor, "B 3 S S"]  # object over the background
    mask: Float[Tensor, "B 1 S S"]  # soft object mask in the view
    depth: Float[Tensor, "B 1 S S"]  # z in the view's camera
    covered: Float[Tensor, "B 1 S S"]  # 1 where any part of the height field (object or sheet) is seen
    grid: Float[Tensor, "B S S 2"]  # canonical coordinates seen by each pixel


def widened(mask: Float[Tensor, "B 1 S S"]) -> Float[Tensor, "B 1 S S"]:
    """The mask with its anti-aliased rim made solid and a pixel beyond half covered: nothing of the object outside."""
    grown = functional.max_pool2d(mask, 3, stride=1, padding=1)
    return (grown / RIM_COVERED).clamp(max=1.0)


def fill_background(
    image: Float[Tensor, "1 3 S S"], mask: Float[Tensor, "1 1 S S"], sigma_fraction: float = 0.25
) -> Float[Tensor, "1 3 S S"]:
    """The image with its object replaced by a wide Gaussian average of what surrounds it (normalised convolution).

    The object's rim is replaced too: it would stay behind as a ghost of the outline when the object turns.
    """
    size = image.shape[-1]
    centres = torch.arange(size, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * ((centres[:, None] - centres[None, :]) / (sigma_fraction * size)).square())
    cover = widened(mask)
    keep = (1.0 - cover).clamp_min(1e-4)
    blurred = kernel @ (image * keep) @ kernel
    average = blurred / (kernel @ keep @ kernel)
    return image * (1 - cover) + average * cover


def unmixed(
    image: Float[Tensor, "1 3 S S"], mask: Float[Tensor, "1 1 S S"], background: Float[Tensor, "1 3 S S"]
) -> Float[Tensor, "1 3 S S"]:
    """The object's own colour, from image = mask x colour + (1 - mask) x background (Porter and Duff 1984, `over`).

    Where the mask is thin, noise would be blown up: there the colour moves only part of the way.
    """
    return ((image - (1 - mask) * background) / mask.clamp_min(THINNEST_UNMIXED)).clamp(-1, 1)


def draw(
    depth: Float[Tensor, "#B 1 S S"],
    albedo: Float[Tensor, "#B 3 S S"],
    shading: Float[Tensor, "B 1 S S"],
    canvas: Canvas,
    views: Float[Tensor, "B 6"],
    render: RenderConfig,
) -> Drawing:
    """One scene, or B, under B views, shaded in the canonical frame by B lights, over the canvas' background."""
    n = len(views)
    texture = apply_light(albedo, shading)
    target_depth, covered, grid = render_depth(depth, views, render.fov_deg)
    # Colour times coverage is fetched, so that no pixel of the background behind the outline's far side comes along.
    seen = covered * warp(torch.cat([canvas.mask * texture, canvas.mask.expand(n, -1, -1, -1)], 1), grid)
    mask = seen[:, 3:]
    image = seen[:, :3] + (1 - mask) * canvas.background
    return Drawing(image.clamp(-1, 1), mask, target_depth, covered, grid)


def draw_scene(
    scene: Scene, canvas: Canvas, views: Float[Tensor, "B 6"], lights: Float[Tensor, "B 4"], render: RenderConfig
) -> Drawing:
    """`draw` from a scene and lights."""
    shading = shade(normals_from_depth(scene.depth, render.fov_deg), lights)
    return draw(scene.depth, scene.albedo, shading, canvas, views, render)


def draw_input(
    albedo: Float[Tensor, "1 3 S S"], shading: Float[Tensor, "1 1 S S"], canvas: Canvas
) -> Float[Tensor, "1 3 S S"]:
    """The scene in the input's own view. The canonical frame is that view, so nothing has to be warped."""
    texture = apply_light(albedo, shading)
    return (canvas.mask * texture + (1 - canvas.mask) * canvas.background).clamp(-1, 1)
