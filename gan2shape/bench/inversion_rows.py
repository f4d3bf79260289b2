"""Rows of the restoration table that ask for more than the picture: whether a latent can be edited, and found again.

    turn     the picture is inverted, its latent edited, and the result compared with a true render: to the latent is
             added what the pack's encoder sees between renders of the object's true shape at 15 degrees and at 0
    sample   the generator's own samples, whose latents are known, are inverted
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.bench.exam import ExamObject
from gan2shape.bench.truth import render_truth
from gan2shape.core.errors import UserError
from gan2shape.core.images import resized
from gan2shape.edit.controls import Pose
from gan2shape.invert.method import MethodConfig
from gan2shape.invert.spaces import parse_space
from gan2shape.measure.metrics import psnr_db
from gan2shape.prior.packs import Prior
from gan2shape.restoration.edits import State, drawn
from gan2shape.restoration.restore import Restored

TURN, SAMPLE = "turn", "sample"
TURN_DEG = 15.0
LINEAR = ("Z", "W", "W+")  # latents to which a difference can be added


def own_samples(seeds: list[int], prior: Prior) -> tuple[Float[Tensor, "N 3 S S"], Float[Tensor, "N D"]]:
    """(the generator's pictures of these seeds, their w)."""
    config = prior.generator.config
    z = torch.cat([torch.randn(1, config.z_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    with torch.no_grad():
        w = prior.generator.mapping(z.to(prior.w_mean))
        return prior.generator.synthesis(w).clamp(-1, 1), w


def distance_to(found: Float[Tensor, "N *L D"], true: Float[Tensor, "N D"], prior: Prior) -> list[float]:
    """Root mean square distance of each w (or its rows) to the true one, in standard deviations of w."""
    rows = found if found.ndim == 3 else found[:, None]
    return ((rows - true[:, None]) / prior.w_std.clamp_min(1e-6)).square().mean((1, 2)).sqrt().tolist()


def turned_numbers(restored: Restored, items: list[ExamObject], prior: Prior) -> dict[str, list[float]]:
    """PSNR of the edited pictures against true renders, and of the picture that was not turned at all.

    Raises UserError for a prior without an encoder, and for spaces to whose latent nothing can be added.
    """
    kind = parse_space(restored.method.space).latent
    if prior.encoder is None or kind not in LINEAR:
        raise UserError(f"{restored.method.title} cannot be turned: that needs an encoder, and {', '.join(LINEAR)}.")
    turned, still = [], []
    for item, state, image in zip(items, restored.solved.states, restored.image, strict=True):
        before, after = true_pair(item, prior)
        made = edited(state, seen_difference(before, after, kind, prior), restored.method, prior)
        everywhere = torch.ones_like(made[:, :1]) > 0
        turned += psnr_db(made, after, everywhere).tolist()
        still += psnr_db(image[None], after, everywhere).tolist()
    return {"turned_psnr_db": turned, "unturned_psnr_db": still}


def true_pair(item: ExamObject, prior: Prior) -> tuple[Float[Tensor, "1 3 S S"], Float[Tensor, "1 3 S S"]]:
    """True renders of an object as the exam shows it, and TURN_DEG further in yaw."""
    poses = (Pose(), Pose(yaw_deg=TURN_DEG))
    views, lights = (
        torch.cat([getattr(pose, part)(item.light) for pose in poses]) for part in ("view", "light")
    )
    images = resized(render_truth(item, views, lights).images, prior.resolution).to(prior.w_mean)
    return images[:1], images[1:]


@torch.no_grad()
def seen_difference(
    before: Float[Tensor, "1 3 S S"], after: Float[Tensor, "1 3 S S"], kind: str, prior: Prior
) -> Float[Tensor, "1 *L D"]:
    """The difference of two pictures in a latent space, as the encoder sees it; the same in all rows of W+."""
    seen = [prior.encoder(image)[0] for image in (before, after)]
    first, second = seen if kind == "Z" else [prior.generator.mapping(z) for z in seen]
    difference = second - first
    return difference[:, None] if kind == "W+" else difference


def edited(state: State, difference: Tensor, method: MethodConfig, prior: Prior) -> Float[Tensor, "1 3 S S"]:
    """The picture of a solution whose latent is moved; its own weights and noise stay."""
    return drawn({**state, "latent0": state["latent0"] + difference}, method.space, prior)
