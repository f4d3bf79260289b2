"""One training on several processes (`torchrun`): each takes its share of every batch, and gradients are averaged.

Every rank draws the whole step's random numbers and takes its rows, so that R processes compute what one does with the
same batch. For that, what is not linear in the batch is gathered (second moments of latents, scales of features, means
of w and of path lengths), and the groups of the minibatch standard deviation, which are strided (`nn.layers`), lie
within a rank.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gan2shape.core.devices import choose_device, process_rank
from gan2shape.core.errors import UserError

Record = TypeVar("Record")


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    index: int = 0
    count: int = 1

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all ranks, without gradient."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    def mean_gradients(self, *modules: nn.Module) -> None:
        """Every `.grad` becomes its mean over all ranks, in one message a module."""
        if self.count == 1:
            return
        for module in modules:
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            means = self.mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
            parts = means.split([gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view(gradient.shape))

    def rows(self, batch: int, group: int) -> Tensor:
        """Numbers of this rank's rows of a batch, rising: whole strided groups of the minibatch statistics."""
        every, n_groups = torch.arange(batch), batch // group
        if self.count == 1:
            return every
        return every[every % n_groups // (n_groups // self.count) == self.index]

    def share(self, samples: Record, batch: int, group: int) -> Record:
        """A record of a step's batched tensors with this rank's rows only."""
        if self.count == 1:
            return samples
        whole = {spec.name: getattr(samples, spec.name) for spec in fields(samples)}
        own = self.rows(batch, group)
        return replace(samples, **{name: x[own.to(x.device)] for name, x in whole.items() if x is not None})

    def agreed(self, value: Any) -> Any:
        """The first rank's value."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def require_divisible(self, batch: int, n_reproduced: int, group: int) -> None:
        """Raises UserError for a batch that cannot be shared so that every rank has whole groups."""
        if self.count == 1:
            return
        if batch % (self.count * group):
            raise UserError(
                f"batch={batch} cannot be shared by {self.count} processes: choose a multiple of {self.count * group}."
            )
        if n_reproduced % (batch // group):
            raise UserError(
                f"{n_reproduced} reproduced images of {batch} cannot be shared by {self.count} processes: "
                f"choose an autoencoding_share that is a multiple of 1/{group}."
            )


ALONE = Ranks()


@contextmanager
def open_ranks(device_name: str) -> Iterator[tuple[Ranks, torch.device]]:
    """The ranks that `torchrun` has started, joined, and this one's device: of several GPUs each takes its own.

    Outside of `torchrun`: `ALONE`, and the device. Raises UserError as `choose_device` does.
    """
    device, count = choose_device(device_name), int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE, device
        return
    if device.type == "cuda" and device.index is None:
        device = choose_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(process_rank(), count), device
    finally:
        dist.destroy_process_group()
