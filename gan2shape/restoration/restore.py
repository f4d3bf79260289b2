"""A damaged picture and a prior in, the restored picture out.

    restored = restore_images(pictures, Damage("superres", 4), "dgp", prior, degrade=True)
"""

import time
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.degrade.degradations import Degradation, Gray, Mask
from gan2shape.invert.method import MethodConfig
from gan2shape.invert.solver import Problem, Solved, solve
from gan2shape.invert.spaces import parse_space
from gan2shape.invert.start import naive
from gan2shape.measure.metrics import psnr_db, ssim
from gan2shape.nn.latent_encoder import LatentEncoder
from gan2shape.prior.packs import Prior
from gan2shape.restoration.composition import composed
from gan2shape.restoration.edits import mixed, posterior
from gan2shape.restoration.feedforward import is_restorer, open_restorer, shipped_restorer
from gan2shape.restoration.networks import networks_of
from gan2shape.restoration.tasks import Damage, degradations, hole_of
from gan2shape.restoration.variants import load_variant

N_DRAWS = 6  # of a posterior (Marinescu et al. 2021)


@dataclass(frozen=True)
class Restored:
    """Restored pictures and what is known about them."""

    image: Float[Tensor, "B 3 S S"]  # composed with the observation
    observed: Float[Tensor, "B 3 h w"]  # the damaged picture
    solved: Solved  # the generator's own picture, its latent, its weights
    truth: Float[Tensor, "B 3 S S"] | None  # where a clean picture was damaged here
    hole: Float[Tensor, "b 1 S S"] | None  # 1 where it was lost
    method: MethodConfig
    seconds: float  # of all pictures together
    numbers: dict[str, list[float]] = field(default_factory=dict)  # a value for each picture
    draws: Float[Tensor, "B N 3 S S"] | None = None  # the generator's other answers, of methods that find several

    def one(self, index: int) -> "Restored":
        """A picture of the batch alone, with its share of the seconds."""
        n, rows = len(self.image), slice(index, index + 1)

        def of(value: Tensor | None) -> Tensor | None:
            return value[rows] if value is not None and len(value) == n else value  # a hole may be everybody's

        return replace(
            self, image=self.image[rows], observed=self.observed[rows], solved=self.solved.one(index),
            truth=of(self.truth), hole=of(self.hole), draws=of(self.draws), seconds=self.seconds / n,
            numbers={name: values[rows] for name, values in self.numbers.items()},
        )  # fmt: skip


def restore_images(
    images: Float[Tensor, "B 3 h w"],
    damage: Damage,
    method: str | MethodConfig | None,
    prior: Prior,
    *,
    degrade: bool = False,
    seed: int = 0,
    encoder: LatentEncoder | None = None,
    n_mixed: int = 0,
    report: Reporter = silent,
) -> Restored:
    """Restore pictures of one kind of damage.

    images: damaged pictures as they are: at the prior's resolution, or smaller by the factor of `superres`. With
    `degrade`: clean ones at the prior's resolution, which are damaged first; the results are then compared with them.
    method: a name of configs/restore, perhaps with the parts of a variant, or a method; a kind of trained restorer, or
    the path of its file (restoration/feedforward.py); the task's own unless given. encoder: gives optimisers their
    start, and what `encoder_cycle` reads. n_mixed: draws of each solution with random fine rows (`edits.mixed`).
    Raises UserError for sizes that do not fit, and as `load_variant`, `networks_of`, `open_restorer` and `solve` do.
    """
    if degrade and damage.kind.is_learnt:
        raise UserError(f"{damage.task} is no damage of a picture: give what the encoder has to see.")
    method = method or shipped_restorer(damage, prior)
    network = open_restorer(method, damage, prior) if isinstance(method, str) and is_restorer(method) else None
    if network is not None:
        config = network.method
    else:
        config = method if isinstance(method, MethodConfig) else load_variant(method or damage.kind.method, damage.task)
    size = prior.resolution
    wanted = size if degrade else size // damage.factor
    if tuple(images.shape[-2:]) != (wanted, wanted):
        given = f"{images.shape[-1]} x {images.shape[-2]}"
        raise UserError(f"the picture has {given} pixels, but this task and prior need {wanted} x {wanted}.")
    phi, after = degradations(damage, config, size)
    hole = hole_of(damage, size)
    images = images.to(prior.w_mean.device)
    observed = _observed(images, phi, seed) if degrade else _as_observed(images, damage, phi)
    began = time.perf_counter()
    is_reader = encoder is not None and encoder.config.head != "residual"  # that one sees a reconstruction as well
    networks = networks_of(config, size, images.device)
    problem = Problem(after(observed), phi >> after, networks=networks, reader=encoder if is_reader else None)
    if network is None:
        start_w = None if encoder is None else encoder.encode(naive(observed, size), prior.generator.synthesis)
        solved = solve(problem, config, prior, seed=seed, start_w=start_w, report=report)
    else:
        solved = network.solved(problem)
    known = None if hole is None else 1.0 - hole.to(images)
    image = composed(solved.image, observed, known, damage.kind.compose)
    seconds = time.perf_counter() - began
    truth = images if degrade else None
    numbers = _numbers(image, truth, hole, solved, prior)
    if damage.kind.is_learnt:
        numbers.pop("data_term")  # the given picture is another one
    draws = None
    if parse_space(config.space).spread:
        draws = torch.stack([posterior(state, config.space, prior, N_DRAWS, seed) for state in solved.states])
    elif n_mixed > 0:
        if solved.w is None:
            raise UserError(f"{config.title} finds no w whose rows could be mixed: leave --draws away.")
        rows = solved.w if solved.w.ndim == 3 else solved.w[:, None].expand(-1, prior.generator.n_layers, -1)
        draws = torch.stack([mixed(one, prior, n_mixed, seed) for one in rows])
    return Restored(image, observed, solved, truth, hole, config, seconds, numbers, draws)


def _observed(images: Tensor, phi: Degradation, seed: int) -> Tensor:
    """Clean pictures, damaged: each of a batch as it would be alone."""
    rngs = (torch.Generator().manual_seed(seed) for _ in images)
    return torch.cat([phi.observe(image[None], rng) for image, rng in zip(images, rngs, strict=True)])


def _as_observed(images: Tensor, damage: Damage, phi: Degradation) -> Tensor:
    """A picture that was damaged elsewhere: grey where it should be, the hole filled as candidates are."""
    if damage.task == "colorize":
        return Gray()(images)
    return phi(images) if isinstance(phi, Mask) else images


@torch.no_grad()
def _numbers(image: Tensor, truth: Tensor | None, hole: Tensor | None, solved: Solved, prior: Prior) -> dict:
    """Without a truth only what can be known: how well the observation is explained, how far w is from its mean."""
    found = {"data_term": solved.data.tolist()}
    if solved.w is not None:
        rows = solved.w if solved.w.ndim == 3 else solved.w[:, None]
        away = (rows - prior.w_mean) / prior.w_std.clamp_min(1e-6)
        found["latent_distance"] = away.square().mean((1, 2)).sqrt().tolist()
    if truth is not None:
        everywhere = torch.ones_like(image[:, :1]) > 0
        found["psnr_db"] = psnr_db(image, truth, everywhere).tolist()
        found["ssim"] = ssim(image, truth, everywhere).tolist()
        if hole is not None:
            found["hole_psnr_db"] = psnr_db(image, truth, hole.to(image).expand(len(image), -1, -1, -1) > 0.5).tolist()
    return found
