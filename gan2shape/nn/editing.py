"""The editing network T: what another view or another light adds to a latent, in one pass, without a picture.

    w' = w + T(w, change)          change: yaw, pitch, and how far each number of the light moves

T(w, 0) is exactly 0 by construction. It is trained for one generator (`build.editing`) and lies beside its pack as
`editing.safetensors`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.errors import UserError
from gan2shape.core.network_files import load_network, save_network

EDITING_NAME = "editing.safetensors"  # beside a category's pack
FORMAT = "gan2shape-editing-1"
COMMAND = "gan2shape build CATEGORY --only editing"  # makes it
CHANGE = ("yaw", "pitch", "ambient", "diffuse", "lx", "ly")  # radians; lights of the canonical frame
UNITS = (math.radians(20.0), math.radians(6.0), 0.1, 0.1, 0.6, 0.4)  # of a change, for the network
LIMITS = (math.radians(45.0), math.radians(20.0), 0.3, 0.3, 2.0, 1.2)  # beyond which nothing was learnt
SAME_STATISTICS = 0.02  # greatest rms difference of two means of w that are one, in its standard deviations


@dataclass(frozen=True)
class EditingConfig:
    """Size of the network: .26 M parameters."""

    w_dim: int = 128  # of the generator's latents
    n_hidden: int = 256
    n_blocks: int = 3  # residual ones of one layer


class EditingNetwork(nn.Module):
    """`network(latents, change)` -> what is to be added to them; it adds nothing at first.

    `w_mean`, `w_std`: of the generator's latents, by which it is known for whose it is. `yaw_gain`: how much farther
    it has to be asked to turn than it shall.
    """

    def __init__(self, config: EditingConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Linear(config.w_dim + len(CHANGE), config.n_hidden)
        self.blocks = nn.ModuleList(nn.Linear(config.n_hidden, config.n_hidden) for _ in range(config.n_blocks))
        self.last = nn.Linear(config.n_hidden, config.w_dim, bias=False)
        nn.init.zeros_(self.last.weight)
        self.register_buffer("units", torch.tensor(UNITS), persistent=False)
        self.register_buffer("yaw_gain", torch.ones(()))
        self.register_buffer("w_mean", torch.zeros(config.w_dim))
        self.register_buffer("w_std", torch.ones(config.w_dim))

    def forward(self, latents: Float[Tensor, "B *L D"], change: Float[Tensor, "B 6"]) -> Float[Tensor, "B *L D"]:
        """Offsets of w, or of each row of W+ alone. Changes count as far as the network has learnt them."""
        rows = latents.flatten(0, -2)
        asked = torch.cat([change[:, :1] * self.yaw_gain, change[:, 1:]], 1)
        asked = (within_limits(asked) / self.units).repeat_interleave(len(rows) // len(change), 0)
        own = (rows - self.w_mean) / self.w_std
        moved = self._hidden(own, asked) - self._hidden(own, torch.zeros_like(asked))
        return (self.last(moved) * self.w_std).view_as(latents)

    def _hidden(self, own: Float[Tensor, "R D"], asked: Float[Tensor, "R 6"]) -> Float[Tensor, "R H"]:
        x = nn.functional.silu(self.first(torch.cat([own, asked], 1)))
        for block in self.blocks:
            x = x + nn.functional.silu(block(x))
        return x


def within_limits(change: Float[Tensor, "B 6"]) -> Float[Tensor, "B 6"]:
    """Changes as far as the network has learnt them."""
    columns = zip(change.unbind(1), LIMITS, strict=True)
    return torch.stack([column.clamp(-limit, limit) for column, limit in columns], 1)


def save_editing(path: Path, network: EditingNetwork) -> Path:
    """Write a network in half precision, whole or not at all. Returns the path."""
    return save_network(path, network, network.config, FORMAT)


def load_editing(path: Path, device: torch.device | str = "cpu") -> EditingNetwork:
    """The network in a file, frozen. Raises UserError for a file that is missing, damaged or of another version."""

    def build(fields: dict[str, Any]) -> EditingNetwork:
        return EditingNetwork(EditingConfig(**fields))

    return load_network(path, build, FORMAT, "editing network", COMMAND).to(device)


def editing_beside(
    folder: Path, w_mean: Float[Tensor, " D"], w_std: Float[Tensor, " D"], device: torch.device | str = "cpu"
) -> EditingNetwork | None:
    """The network in a pack's folder; None where there is none. Raises UserError for one of another generator, which
    these statistics of w tell.
    """
    path = folder / EDITING_NAME
    if not path.is_file():
        return None
    network = load_editing(path, device)
    is_same = network.w_mean.shape == w_mean.shape
    if is_same:
        apart = (network.w_mean - w_mean.to(device)) / w_std.to(device).clamp_min(1e-6)
        is_same = bool(apart.square().mean().sqrt() < SAME_STATISTICS)
    if not is_same:
        raise UserError(f"{path} was trained for another generator: delete it, or make it anew with `{COMMAND}`.")
    return network
