"""The depth, view and light networks that a pack carries, learnt from thousands of single images."""

from dataclasses import asdict, replace

import torch
from torch import Tensor

from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.seeding import seeded
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.packs import Prior, freeze

NETWORK_NAME = "scene"  # under which a pack holds them
FITTING = ("autoencoder_channels", "code_dim", "encoder_channels", "encoder_dim")  # of NetworkConfig


def category_networks(config: ShapeConfig) -> SceneNetworks:
    """Networks of the kind that packs hold, with fresh weights: an autoencoder for depth, none for albedo."""
    networks = replace(config.networks, kind="small", albedo="quotient")
    return SceneNetworks(replace(config, networks=networks, ablation=replace(config.ablation, depth="network")))


def settings(config: ShapeConfig) -> dict:
    """What has to be equal for networks to fit: goes into the pack."""
    sizes = asdict(config.networks)
    plain = {name: list(sizes[name]) if isinstance(sizes[name], tuple) else sizes[name] for name in FITTING}
    return {"size": config.render.resolution, **plain}


def load_learnt(networks: SceneNetworks, stored: dict[str, Tensor]) -> None:
    """Take over what was learnt; buffers are an object's, and packs of earlier versions hold some.

    Raises UserError where a weight is missing or of another shape.
    """
    own = dict(networks.named_parameters())
    bad = [name for name, weight in own.items() if name not in stored or stored[name].shape != weight.shape]
    if bad:
        raise UserError(f"The stored scene networks are damaged at {bad[0]}: restore them, or learn them anew.")
    networks.load_state_dict({**networks.state_dict(), **{name: stored[name] for name in own}})


def pretrained_networks(prior: Prior, config: ShapeConfig) -> SceneNetworks | None:
    """The pack's networks, frozen; None where there are none, or none of the configuration's kind, sizes and
    resolution."""
    if config.ablation.depth != "network" or config.networks.kind != "small" or NETWORK_NAME not in prior.networks:
        return None
    if prior.network_configs[NETWORK_NAME] != settings(config):
        return None
    with seeded(0):  # replaced at once
        networks = category_networks(config)
    load_learnt(networks, prior.networks[NETWORK_NAME])
    return freeze(networks.to(prior.w_mean.device, memory_format=torch.channels_last))
