"""Completing a shape of which one side is known: the vector of a 3D-GAN and the heading, found together.

From several headings at once, each with the best of some random vectors, both descend the disagreement with the known
voxels; the heading that ends lowest is kept. A prior holds z at the length of random vectors: at z = 0 a generator that
normalises batches makes nothing.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.progress import Reporter, silent
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.schedules import cosine_fall
from gan2shape.nn.voxel_networks import VoxelGenerator
from gan2shape.scene.volumes import FILLED, turned, turntable_matrix


@dataclass(frozen=True)
class CompletionPlan:
    """How long, and how strongly."""

    n_headings: int = 8  # starts, evenly around
    n_vectors: int = 16  # random ones, of which each start takes the best
    n_steps: int = 80
    z_lr: float = 0.1
    angle_lr: float = 0.03  # radians
    fits_pitch: bool = False  # the camera's height is unknown too
    pitch_rad: float = 0.0  # where it begins, or what it is
    prior_weight: float = 0.02  # of (z's mean square - 1)^2
    filled_weight: float = 4.0  # of a filled voxel beside an empty one: 1 makes shapes thin, equal shares make them fat
    floor: float = 1e-4  # of probabilities
    seed: int = 0


@dataclass(frozen=True)
class Completed:
    """N shapes as the camera sees them, and where they were found."""

    volume: Float[Tensor, "N 1 S S S"]  # occupancy, in the camera's frame
    own: Float[Tensor, "N 1 S S S"]  # the same in the object's frame
    mean: Float[Tensor, "N 1 S S S"]  # the mean shape of what the generator learnt from, at the same pose
    heading_rad: Float[Tensor, " N"]
    pitch_rad: Float[Tensor, " N"]
    z: Float[Tensor, "N Z"]
    data: Float[Tensor, " N"]  # disagreement with the known voxels


def complete(
    filled: Float[Tensor, "N 1 S S S"],
    known: Bool[Tensor, "N 1 S S S"],
    generator: VoxelGenerator,
    plan: CompletionPlan = CompletionPlan(),
    report: Reporter = silent,
) -> Completed:
    """The generator's shapes that agree with `filled` where it is `known`, in the camera's frame."""
    n, k = len(filled), plan.n_headings
    wanted, where = (x.repeat_interleave(k, 0) for x in (filled, known))
    starts = torch.arange(k, device=filled.device) * (2 * math.pi / k)
    z = best_vectors(filled, known, generator, starts, plan).requires_grad_(True)
    heading = starts.repeat(n).requires_grad_(True)
    pitch = torch.full_like(starts.repeat(n), plan.pitch_rad).requires_grad_(True)

    def loss_of(step: Step) -> tuple[Float[Tensor, " K"], dict[str, Tensor]]:
        made = turned(generator(z), turntable_matrix(heading, pitch))
        data = disagreement(made, wanted, where, plan)
        return data + plan.prior_weight * (z.square().mean(1) - 1.0).square(), {"data": data}

    lr = {"z": cosine_fall(plan.z_lr, start=0.5), "heading": cosine_fall(plan.angle_lr, start=0.5)}
    lr |= {"pitch": cosine_fall(plan.angle_lr, start=0.5)} if plan.fits_pitch else {}
    rules = Plan((Stage("completion", plan.n_steps, lr),), best_by="data")
    outcome = optimise({"z": [z], "heading": [heading], "pitch": [pitch]}, loss_of, rules, report=report)
    best = outcome.best.view(n, k).argmin(1) + torch.arange(n, device=filled.device) * k
    with torch.no_grad():
        matrix = turntable_matrix(heading[best], pitch[best])
        own = generator(z[best])
        mean = generator.mean_shape.expand(n, -1, -1, -1, -1)
        made = (turned(own, matrix), own, turned(mean, matrix))
    angle = torch.atan2(heading[best].sin(), heading[best].cos())
    return Completed(*made, angle.detach(), pitch[best].detach(), z[best].detach(), outcome.best[best])


@torch.no_grad()
def best_vectors(
    filled: Float[Tensor, "N 1 S S S"],
    known: Bool[Tensor, "N 1 S S S"],
    generator: VoxelGenerator,
    headings_rad: Float[Tensor, " H"],
    plan: CompletionPlan,
) -> Float[Tensor, "NH Z"]:
    """For each shape and heading the one of `plan.n_vectors` random vectors that disagrees least there."""
    rng = torch.Generator().manual_seed(plan.seed)
    z = torch.randn(plan.n_vectors, generator.config.z_dim, generator=rng).to(filled)
    volumes, found = generator(z), []
    for heading in headings_rad:
        angles = heading.expand(len(z)), torch.full_like(heading, plan.pitch_rad).expand(len(z))
        seen = turned(volumes, turntable_matrix(*angles))
        errors = [
            disagreement(seen, one[None].expand_as(seen), where[None].expand_as(seen), plan)
            for one, where in zip(filled, known, strict=True)
        ]
        found.append(z[torch.stack(errors).argmin(1)])
    return torch.stack(found, 1).flatten(0, 1)


def disagreement(
    made: Float[Tensor, "B 1 S S S"],
    wanted: Float[Tensor, "B 1 S S S"],
    where: Bool[Tensor, "B 1 S S S"],
    plan: CompletionPlan,
) -> Float[Tensor, " B"]:
    """Weighed cross-entropy of the known voxels, for each filled one of them."""
    sure = plan.floor + (1 - 2 * plan.floor) * made  # a clamp would have no gradient where everything is empty
    errors = F.binary_cross_entropy(sure, wanted, reduction="none")
    filled = where & (wanted >= FILLED)
    total = (errors * where).sum((1, 2, 3, 4)) + (plan.filled_weight - 1.0) * (errors * filled).sum((1, 2, 3, 4))
    return total / (plan.filled_weight * filled.sum((1, 2, 3, 4)).clamp_min(1))
