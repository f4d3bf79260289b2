"""Where a descent begins: a z and a w for each picture, as a method's `start` asks.

The same random numbers serve every picture, so that a batch begins as each of its pictures would alone.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.invert.method import StartConfig
from gan2shape.invert.spaces import Made, w_scale
from gan2shape.prior.packs import Prior

Score = Callable[[Made, int], Tensor]  # (pictures, which observation) -> loss of each
Start = tuple[Tensor | None, Tensor | None]  # z [B, Z] and w [B, *L, D], as far as they are known
CANDIDATES_AT_ONCE = 64  # random samples that are made in one batch


def naive(observed: Float[Tensor, "B 3 h w"], size: int) -> Float[Tensor, "B 3 S S"]:
    """The observation at the prior's resolution: what an encoder sees, and where pixels begin."""
    if observed.shape[-1] == size:
        return observed
    return F.interpolate(observed, size=(size, size), mode="bicubic", align_corners=False).clamp(-1, 1)


@torch.no_grad()
def starting_point(
    settings: StartConfig,
    prior: Prior,
    observed: Float[Tensor, "B 3 h w"],
    score: Score,
    seed: int,
    needs_z: bool,
    n_tracks: int = 1,
) -> Start:
    """z and w of each picture's start; the `n_tracks` best ones, picture by picture, where samples are ranked.

    score(made, i): the loss of candidates for picture i. For w the mean is one of the candidates.
    """
    rng, n_images, config = torch.Generator().manual_seed(seed), len(observed), prior.generator.config
    kind = settings.kind if settings.kind != "encoder" or prior.encoder is not None else "best"
    if kind == "encoder":
        z = prior.encoder(naive(observed, config.resolution))[0]
        return z, prior.generator.mapping(z)
    if kind == "mean" and not needs_z:
        w = prior.w_mean.expand(n_images, -1).clone()
        return None, w + settings.noise * w_scale(prior) * torch.randn(w.shape[1], generator=rng).to(w)
    z = torch.randn(settings.n, config.z_dim, generator=rng).to(prior.w_mean)
    z = z * settings.spread if needs_z else z
    w = prior.generator.mapping(z)
    if not needs_z:
        w = prior.w_mean + settings.spread * (w - prior.w_mean)
    if kind == "random":
        return z[:1].repeat(n_images, 1), w[:1].repeat(n_images, 1)
    if not needs_z:
        z, w = None, torch.cat([prior.w_mean[None], w])
    losses = []
    for rows in torch.arange(len(w)).split(CANDIDATES_AT_ONCE):
        few = Made(prior.generator.synthesis(w[rows]), w[rows], None if z is None else z[rows])  # made once for all
        losses.append(torch.stack([score(few, i) for i in range(n_images)]))
    best = torch.cat(losses, 1).topk(n_tracks, largest=False).indices.flatten()
    return (None if z is None else z[best]), w[best]
