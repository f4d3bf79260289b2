"""Feature networks that a method's terms name beside the prior's discriminator.

    efficientnet       EfficientNet-Lite0 with its ImageNet weights (extra `perceptual`)
    a file             a TorchScript module, which is code that runs, or a state dict of EfficientNet-Lite0
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.invert.method import MethodConfig
from gan2shape.measure.perceptual import load_perceptual
from gan2shape.nn.feature_metric import load_script

OWN = "discriminator"
EFFICIENTNET = "efficientnet"
STATE_DICTS = (".pth", ".safetensors")  # names of files that hold tensors alone
COMPARING = ("features", "gram")  # terms that look through a network

Network = Callable[[Tensor, int], list[Tensor]]


def networks_of(method: MethodConfig, size: int, device: torch.device | str = "cpu") -> dict[str, Network]:
    """Each network that the method's terms name, but the prior's own. Raises UserError for what cannot be used."""
    names = {term.network for term in method.terms if term.term in COMPARING} - {OWN}
    return {name: open_network(name, size, device) for name in sorted(names)}


def open_network(name: str, size: int, device: torch.device | str = "cpu") -> Network:
    """(images [B, 3, h, w] in [-1, 1], number of blocks) -> feature maps. Raises UserError for what cannot be used."""
    if name == EFFICIENTNET or name.endswith(STATE_DICTS):
        network = load_perceptual(device, None if name == EFFICIENTNET else Path(name))
        return lambda images, n_blocks: network.features(images, min(n_blocks, len(network.block_names)))
    return load_script(Path(name), size, device).features


def seen_through(method: MethodConfig, network: str | None) -> MethodConfig:
    """The method with another network in all of its terms that use one; itself where none is named. Raises UserError
    for a method that has no such term.
    """
    if network is None:
        return method
    if not any(one.term in COMPARING for one in method.terms):
        raise UserError(f"{method.title} compares no features: leave --features away, or name another --method.")
    terms = tuple(replace(one, network=network) if one.term in COMPARING else one for one in method.terms)
    return replace(method, terms=terms)
