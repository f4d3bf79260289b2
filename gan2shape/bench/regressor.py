"""The regressor that measures a pack's card: heading and light direction of an image, learnt from synthetic truth.

Only CHANGES of one object's image are measured. So the regressor sees each object twice, under its own view and under
a further yaw, and learns the difference between the two as well.

The heading is the angle of the object's front about the camera's vertical axis. A perturbation by a yaw psi changes it
by psi exactly, whatever the elevation. Mirroring an image negates its heading and lx.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.progress import Reporter, silent
from gan2shape.core.seeding import seeded
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.schedules import one_cycle
from gan2shape.scene.camera import compose_views, rotation
from gan2shape.synth.dataset import sample_item
from gan2shape.synth.registry import get_category
from gan2shape.synth.render import render_objects

TARGETS = ("heading", "lx", "ly")  # what the regressor predicts
MIRRORED = (-1.0, -1.0, 1.0)  # signs of the targets of a mirrored image
BATCH, IMAGE_NOISE = 16, 0.05  # pairs a step; standard deviation of the noise added to images
LR_FIRST, LR_PEAK = 2e-3 / 25, 2e-3
PAIR_YAW_DEG = 20.0  # the second image of a pair differs by up to this yaw
CHANGE_WEIGHT = 2.0  # of the loss on a pair's difference, beside the loss on each image
PREDICT_BATCH = 64


@dataclass(frozen=True)
class Regressor:
    """Network and the scale of its targets."""

    network: nn.Module
    mean: Float[Tensor, "3"]
    std: Float[Tensor, "3"]

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N 3"]:
        """Heading in radians, lx, ly."""
        return torch.cat([self.network(part) for part in images.split(PREDICT_BATCH)]) * self.std + self.mean


def heading_rad(view: Float[Tensor, "N 6"]) -> Float[Tensor, " N"]:
    """Angle of the object's front about the camera's vertical axis, 0 when it faces the camera; yaw's sign."""
    front = rotation(view[:, :3]) @ view.new_tensor([0.0, 0.0, -1.0])
    return torch.atan2(-front[:, 0], -front[:, 2])


def true_targets(view: Float[Tensor, "N 6"], light: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3"]:
    """What the regressor should predict; `light` in the camera frame of the image."""
    return torch.stack([heading_rad(view), light[:, 2], light[:, 3]], 1)


def slope(measured: Float[Tensor, " N"], target: Float[Tensor, " N"]) -> float:
    """Least-squares slope of measured against target."""
    centred = target - target.mean()
    return float((centred * (measured - measured.mean())).sum() / centred.square().sum())


def responses(measured: Float[Tensor, "N 3"], target: Float[Tensor, "N 3"]) -> dict[str, float]:
    """The response of each quantity (the slope of its measured changes against the target ones), and the rms of the
    heading about its own line, degrees.
    """
    metrics = {f"{name}_response": slope(measured[:, i], target[:, i]) for i, name in enumerate(TARGETS)}
    residual = measured[:, 0] - metrics["heading_response"] * target[:, 0]
    metrics["heading_residual_deg"] = math.degrees(float((residual - residual.mean()).square().mean().sqrt()))
    return metrics


def regressor_network(width: int = 24) -> nn.Module:
    """Image [N,3,64,64] -> [N,3]: four strided convolutions and a hidden layer."""
    layers: list[nn.Module] = []
    before = 3
    for channels in (width, 2 * width, 4 * width, 5 * width):
        layers += [nn.Conv2d(before, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.LeakyReLU(0.2)]
        before = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * 16, 128), nn.LeakyReLU(0.2), nn.Linear(128, 3))


@dataclass(frozen=True)
class Pairs:
    """Each object under its own view and under a further yaw, with another light each time."""

    images: Float[Tensor, "N 2 3 S S"]
    targets: Float[Tensor, "N 2 3"]


def render_pairs(category: str, first_seed: int, n: int) -> Pairs:
    """n objects; the second view differs from the first by a uniform yaw of up to PAIR_YAW_DEG."""
    spec = get_category(category)
    items = [sample_item(spec, first_seed + i) for i in range(n)]
    first, first_light, background = (
        torch.from_numpy(np.stack([getattr(item, name) for item in items])) for name in ("view", "light", "background")
    )
    rng = torch.Generator().manual_seed(first_seed)
    change = torch.zeros(n, 6)
    change[:, 1] = math.radians(PAIR_YAW_DEG) * (2 * torch.rand(n, generator=rng) - 1)
    columns = []
    for view, light in ((first, first_light), (compose_views(first, change), first_light.roll(1, 0))):
        made = render_objects([item.mesh for item in items], view, light, background, fov_deg=spec.fov_deg)
        columns.append((made.image, true_targets(view, light)))
    return Pairs(*(torch.stack(column, 1) for column in zip(*columns, strict=True)))


def regressor_loss(predicted: Float[Tensor, "N 2 3"], target: Float[Tensor, "N 2 3"]) -> Float[Tensor, ""]:
    """Each image's targets and the change between the two, in units of the targets' standard deviations."""
    change = nn.functional.smooth_l1_loss(predicted[:, 1] - predicted[:, 0], target[:, 1] - target[:, 0])
    return nn.functional.smooth_l1_loss(predicted, target) + CHANGE_WEIGHT * change


def train_regressor(pairs: Pairs, n_steps: int, report: Reporter = silent) -> Regressor:
    """Fit the regressor on pairs, mirrored at random. Deterministic on one machine."""
    signs = torch.tensor([(1.0, 1.0, 1.0), MIRRORED])
    both = torch.cat([pairs.targets.flatten(0, 1) * sign for sign in signs])
    mean, std = both.mean(0), both.std(0)
    with seeded(0):
        network = regressor_network()
    rng = torch.Generator().manual_seed(0)

    def loss_of(step: Step) -> Float[Tensor, ""]:
        chosen = torch.randint(len(pairs.images), (BATCH,), generator=rng)
        mirrored = torch.randint(2, (BATCH,), generator=rng)
        images = pairs.images[chosen]
        images = torch.where(mirrored.view(-1, 1, 1, 1, 1) > 0, images.flip(4), images)
        images = images + IMAGE_NOISE * torch.randn(images.shape, generator=rng)
        target = (pairs.targets[chosen] * signs[mirrored][:, None] - mean) / std
        return regressor_loss(network(images.flatten(0, 1)).unflatten(0, (-1, 2)), target)

    stage = Stage("regressor", n_steps, one_cycle(LR_FIRST, LR_PEAK, LR_FIRST / 1e4))
    plan = Plan((stage,), betas=(one_cycle(0.95, 0.85, 0.95), 0.999), weight_decay=1e-2)
    optimise(network.parameters(), loss_of, plan, report=report)
    return Regressor(network.eval(), mean, std)


def regressor_metrics(regressor: Regressor, held_out: Pairs) -> dict[str, float]:
    """How well the regressor predicts the change between the two images of held-out pairs."""
    predicted = regressor(held_out.images.flatten(0, 1)).unflatten(0, (-1, 2))
    return responses(predicted[:, 1] - predicted[:, 0], held_out.targets[:, 1] - held_out.targets[:, 0])
