"""Edits of solved pictures: jittering and morphing (Pan et al. 2020), draws of a posterior (Marinescu et al. 2021).
Style mixing of an encoder's rows with random ones (Richardson et al. 2021); of two runs: `edit --towards RUN --layers`.

A solution is the state of a space, by name; with Theta it holds the generator's own weights for that picture.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.invert.spaces import Unknowns, parse_space, unit_draw, unknowns
from gan2shape.prior.packs import Prior

State = dict[str, Tensor]
MIXED_FROM = 8 / 18  # share of the rows, coarse ones first, that stay the encoder's (Richardson et al. 2021: 8 of 18)


def reopened(state: State, space: str, prior: Prior) -> Unknowns:
    """The unknowns of a space with a solution in place."""
    config = prior.generator.config
    z = torch.zeros(1, config.z_dim).to(prior.w_mean)
    w = prior.w_mean[None]
    return unknowns(prior, parse_space(space), z, w).load(state)


@torch.no_grad()
def drawn(state: State, space: str, prior: Prior) -> Float[Tensor, "1 3 S S"]:
    """The picture of a solution, with its own weights where it has any."""
    return reopened(state, space, prior).made().image.clamp(-1, 1)


def jittered(state: State, space: str, prior: Prior, sd: float, n: int, seed: int = 0) -> Float[Tensor, "N 3 S S"]:
    """Pictures near a solution: its latent plus noise of standard deviation `sd` (of z; of w in units of its scale).

    DGP: .3, .5 and .7.
    """
    rng, latent = torch.Generator().manual_seed(seed), state["latent0"]
    scale = 1.0 if space.startswith(("Z", "P")) else float(prior.w_cov.diagonal().mean().sqrt())
    pictures = []
    for _ in range(n):
        noise = torch.randn(latent.shape, generator=rng).to(latent) * sd * scale
        pictures.append(drawn({**state, "latent0": latent + noise}, space, prior))
    return torch.cat(pictures)


@torch.no_grad()
def posterior(state: State, space: str, prior: Prior, n: int, seed: int = 0) -> Float[Tensor, "N 3 S S"]:
    """Draws from a solution that is a distribution (space Spread): other pictures that explain the same observation."""
    found, rng = reopened(state, space, prior), torch.Generator().manual_seed(seed)
    return torch.cat([found.made(unit_draw(prior, rng)).image for _ in range(n)]).clamp(-1, 1)


@torch.no_grad()
def mixed_rows(rows: Float[Tensor, "L D"], prior: Prior, n: int, seed: int = 0) -> Float[Tensor, "N L D"]:
    """The same coarse rows with fine ones of the mapping network, each from a z of its own."""
    z = torch.randn(n, prior.generator.config.z_dim, generator=torch.Generator().manual_seed(seed))
    first = round(MIXED_FROM * len(rows))
    fine = prior.generator.mapping(z.to(rows))[:, None].expand(-1, len(rows) - first, -1)
    return torch.cat([rows[:first].expand(n, -1, -1), fine], 1)


@torch.no_grad()
def mixed(rows: Float[Tensor, "L D"], prior: Prior, n: int, seed: int = 0) -> Float[Tensor, "N 3 S S"]:
    """Pictures of `mixed_rows`."""
    return prior.generator.synthesis(mixed_rows(rows, prior, n, seed)).clamp(-1, 1)


def morphed(first: State, second: State, space: str, prior: Prior, n: int = 11) -> Float[Tensor, "N 3 S S"]:
    """Pictures between two solutions of one space: every variable, the generator's weights too, in straight lines.

    Raises UserError where the solutions have other variables.
    """
    if first.keys() != second.keys():
        raise UserError("two solutions of different spaces cannot be morphed: solve both with one method.")
    between = torch.linspace(0.0, 1.0, n)
    mixes = ({name: torch.lerp(first[name], second[name], float(t)) for name in first} for t in between)
    return torch.cat([drawn(mix, space, prior) for mix in mixes])
