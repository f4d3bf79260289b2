"""StyleCLIP's latent mapper: what one sentence adds to any latent (Patashnik et al. 2021, section 5).

Three perceptrons, for the coarse, middle and fine rows of W+; w' = w + .1 M(w) as published. It adds nothing at first.
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.nn.latent_encoder import COARSE_ROWS, MEDIUM_ROWS, zeroed
from gan2shape.nn.layers import FullyConnected, normalize_second_moment

N_LAYERS = 4  # of each perceptron
STEP = 0.1  # times what they give


class LatentMapper(nn.Module):
    """`mapper(rows)` -> what is to be added to them."""

    def __init__(self, n_rows: int, w_dim: int) -> None:
        super().__init__()
        ends = [0, min(COARSE_ROWS, n_rows), min(MEDIUM_ROWS, n_rows), n_rows]
        self.sizes = [b - a for a, b in itertools.pairwise(ends)]
        self.parts = nn.ModuleList(
            nn.Sequential(
                *[FullyConnected(w_dim, w_dim, activate=True) for _ in range(N_LAYERS - 1)],
                zeroed(FullyConnected(w_dim, w_dim, activate=False)),
            )
            for _ in self.sizes
        )

    def forward(self, rows: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """An offset for each row, which depends on that row alone."""
        made = []
        for part, own in zip(self.parts, rows.split(self.sizes, 1), strict=True):
            made.append(part(normalize_second_moment(own.flatten(0, 1))).view_as(own))
        return STEP * torch.cat(made, 1)
