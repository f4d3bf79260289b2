"""How far renders are from the input and from samples, in the losses that `ablation.losses` chooses."""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import RenderConfig, ShapeConfig
from gan2shape.core.records import Render
from gan2shape.scene.canvas import Canvas, over_background
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.scene.render import render
from gan2shape.shape import published_losses
from gan2shape.shape.losses import FeatureMaps, feature_distance, masked_l1, visible_difference
from gan2shape.shape.state import Samples, Target


def input_difference(
    image: Tensor, target: Target, features: FeatureMaps | None, config: ShapeConfig
) -> Float[Tensor, ""]:
    """How far a render in the input's view is from the input."""
    steps = config.steps
    if config.ablation.losses == "published":
        return published_losses.reconstruction_loss(image, target.image, target.canvas.mask, features, steps)
    loss = steps.pixel_weight * masked_l1(image, target.image, target.canvas.mask)
    if features is not None and steps.feature_weight > 0:
        loss = loss + steps.feature_weight * feature_distance(image, target.image, features)
    return loss


def samples_difference(
    rendered: Render,
    samples: Samples,
    chosen: Tensor,
    canvas: Canvas,
    features: FeatureMaps | None,
    config: ShapeConfig,
) -> Float[Tensor, ""]:
    """How far renders are from the chosen samples."""
    images, masks, steps = samples.images[chosen], samples.masks[chosen], config.steps
    if config.ablation.losses == "published":
        return published_losses.sample_loss(rendered, images, masks, features, steps)
    shown = over_background(canvas.background, images, masks)
    loss = visible_difference(rendered, shown, masks, steps)
    if features is not None and steps.feature_weight > 0:
        loss = loss + steps.feature_weight * feature_distance(rendered.image, shown, features)
    return loss


def mirrored(
    depth: Float[Tensor, "1 1 S S"],
    albedo: Float[Tensor, "1 3 S S"],
    lights: Float[Tensor, "B 4"],
    views: Float[Tensor, "B 6"],
    canvas: Canvas,
    camera: RenderConfig,
) -> Render:
    """Renders of the scene whose depth and albedo are flipped left to right, under the same views and lights."""
    flipped = depth.flip(-1)
    shading = shade(normals_from_depth(flipped, camera.fov_deg), lights)
    canvas = replace(canvas, mask=canvas.mask.flip(-1))
    return render(flipped, albedo.flip(-1), shading, views, camera.fov_deg, canvas, backend=camera.backend)
