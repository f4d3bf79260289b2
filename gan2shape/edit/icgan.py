"""IcGAN's edits (Perarnau et al. 2016): z and class of a picture are read, the class is changed, it is drawn anew."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.errors import UserError
from gan2shape.core.network_files import load_network, save_network
from gan2shape.nn.icgan import IcganConfig, IcganEncoders, build_icgan
from gan2shape.prior.identity import generator_hash, training_command
from gan2shape.prior.packs import Prior

FORMAT = "gan2shape-icgan-1"
FILE_NAME = "icgan.safetensors"


@dataclass(frozen=True)
class Swapped:
    """Pictures drawn anew from what was read of them."""

    read: Int[Tensor, " B"]  # class
    same: Float[Tensor, "B 3 S S"]  # drawn with the class that was read
    each: Float[Tensor, "B C 3 S S"]  # drawn with every class


def require_classes(prior: Prior) -> tuple[str, ...]:
    """Names of a conditional pack's classes. Raises UserError for a pack without classes."""
    n = prior.generator.config.n_classes
    if not n:
        raise UserError(
            "The generator has no classes, which IcGAN changes: train one with `gan2shape train --labels` and make a "
            "pack of it with `gan2shape build --only gan labels=true`."
        )
    return tuple(prior.card.get("classes") or map(str, range(n)))


@torch.no_grad()
def swapped(images: Float[Tensor, "B 3 S S"], encoders: IcganEncoders, prior: Prior) -> Swapped:
    """The pictures, in [-1, 1], drawn again with the class that is read of each, and with every class."""
    if images.shape[-1] != encoders.config.resolution:
        size = (encoders.config.resolution,) * 2
        images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
    z, logits = encoders(images)
    read, n = logits.argmax(1), logits.shape[1]
    labels = torch.arange(n, device=z.device).repeat(len(z))
    each = prior.generator(z.repeat_interleave(n, 0), 1.0, "const", labels).clamp(-1, 1)
    each = each.unflatten(0, (len(z), n))
    return Swapped(read, each[torch.arange(len(z), device=z.device), read], each)


def save_icgan(path: Path, encoders: IcganEncoders, card: Mapping[str, Any]) -> Path:
    """Write both encoders in half precision with their card, whole or not at all. Returns the path."""
    return save_network(path, encoders, encoders.config, FORMAT, card)


def load_icgan(path: Path, prior: Prior) -> IcganEncoders:
    """The encoders in a file, or in a training's folder, on the prior's device. Raises UserError where they are
    missing, damaged, or of another generator.
    """
    path = path / FILE_NAME if path.is_dir() else path

    def build(fields: dict[str, Any]) -> IcganEncoders:
        return build_icgan(IcganConfig(**fields))

    command = training_command("train-encoder", "icgan", prior)
    encoders = load_network(path, build, FORMAT, "pair of IcGAN's encoders", command)
    own = generator_hash(prior.generator)
    if encoders.config.generator_hash != own:
        raise UserError(
            f"{path} was trained for another generator ({encoders.config.generator_hash}; this one is {own}): train "
            f"with `{command}`."
        )
    return encoders.to(prior.w_mean.device)
