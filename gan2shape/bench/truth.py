"""True renders of an exam object under other views and lights, expressed in the exam view's frame.

An exam object is rebuilt from its seed. A perturbation P about the exam view is, in the exam frame, P itself; a light
sampled in the new camera's frame is rotated back by P's rotation. Lights that would come from behind the exam view are
sampled again.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.bench.exam import ExamObject
from gan2shape.bench.requests import NATURAL
from gan2shape.core.config import ViewPriorConfig
from gan2shape.core.errors import UserError
from gan2shape.scene.camera import compose_views, rotation
from gan2shape.scene.light import light_in_front, rotate_light
from gan2shape.shape.sampling import sample_views
from gan2shape.synth.registry import get_category
from gan2shape.synth.render import render_object

LADDER_VIEWS = ViewPriorConfig(yaw_sd_deg=14.0, pitch_sd_deg=6.0)  # the ladder's own, whatever a category's views are


@dataclass(frozen=True)
class TrueViews:
    """N images of one object with everything known."""

    images: Float[Tensor, "N 3 S S"]
    masks: Float[Tensor, "N 1 S S"]
    views: Float[Tensor, "N 6"]  # in the exam view's frame
    lights: Float[Tensor, "N 4"]  # in the exam view's frame


def sample_true_lights(category: str, views: Float[Tensor, "N 6"], rng: torch.Generator) -> Float[Tensor, "N 4"]:
    """Lights of the category's distribution in each new camera's frame, sampled again until they lie in front of the
    exam view too. Returned in the exam frame.
    """
    box = get_category(category).lights
    back = rotation(views[:, :3]).transpose(1, 2)
    lights = torch.empty(len(views), 4)
    pending = torch.arange(len(views))
    while len(pending):
        uniform = torch.rand(len(pending), 4, generator=rng)
        low = torch.tensor([box.ambient[0], box.diffuse[0], box.lx[0], box.ly[0]])
        high = torch.tensor([box.ambient[1], box.diffuse[1], box.lx[1], box.ly[1]])
        sampled = low + (high - low) * uniform
        sampled[:, 1] = torch.minimum(sampled[:, 1], box.brightest - sampled[:, 0])
        front = light_in_front(sampled, back[pending])
        lights[pending[front]] = rotate_light(sampled[front], back[pending[front]])
        pending = pending[~front]
    return lights


def render_truth(item: ExamObject, views: Float[Tensor, "N 6"], lights: Float[Tensor, "N 4"]) -> TrueViews:
    """The object under views and lights given in the exam frame. Raises UserError for an object of a natural split."""
    if item.split.startswith(NATURAL):
        raise UserError("Other views of an exam object are rendered plain: give a split that is plain too.")
    whole = compose_views(item.view.expand(len(views), 6), views)
    camera_lights = rotate_light(lights, rotation(views[:, :3]))
    background = tuple(float(value) for value in item.background)
    made = render_object(item.mesh(), whole, camera_lights, item.image.shape[-1], item.fov_deg, background)
    return TrueViews(made.image, made.mask, views, lights)


def true_views(item: ExamObject, n: int, seed: int) -> TrueViews:
    """n true renders: yaw N(0, 14 deg) and pitch N(0, 6 deg) about the exam view, lights of the category's box."""
    rng = torch.Generator().manual_seed(seed)
    views = sample_views(n, LADDER_VIEWS, rng)
    return render_truth(item, views, sample_true_lights(item.category, views, rng))
