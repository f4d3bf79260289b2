"""Packs of random weights at any resolution, and the overrides that keep a run on them to seconds."""

from dataclasses import replace
from pathlib import Path

import torch

from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.image_encoder import ENCODER_NAME, encoder_beside, encoder_settings
from gan2shape.nn.mask_head import MaskHead, head_config
from gan2shape.prior.calibration import Calibration
from gan2shape.prior.packs import make_prior, save_pack
from gan2shape.prior.scene import NETWORK_NAME, category_networks, settings

SMALL = ("networks.autoencoder_channels=[8,8,8]", "networks.encoder_channels=[8,8,8]", "networks.code_dim=16",
         "networks.encoder_dim=16")  # fmt: skip
FEW_STEPS = ("steps.n_projection=[2]", "steps.n_collect=4", "steps.n_joint=[2]", "steps.n_albedo=[2]", "steps.batch=2",
             "invert.n_steps=2")  # fmt: skip


def write_tiny_pack(folder: Path, category: str, size: int, *, bare: bool = False) -> Path:
    """A pack with every network that the bundled ones have, none of which has learnt anything; returns its folder.

    A `bare` one holds generator and discriminator only: runs begin at an ellipsoid.
    """
    torch.manual_seed(0)
    widths = (8,) * (size.bit_length() - 2)  # of resolutions 4, 8 ... size
    generator = Generator(GeneratorConfig(resolution=size, channels=widths, z_dim=8, w_dim=8, n_mapping=2))
    discriminator = Discriminator(DiscriminatorConfig(resolution=size, channels=widths, unshuffle=False))
    plain = make_prior(generator, discriminator, {"category": category})
    if bare:
        save_pack(folder / category, plain)
        return folder / category
    encoder = encoder_beside(discriminator, 8)
    config = compose(ShapeConfig, category, None, SMALL)
    config = replace(config, render=replace(config.render, resolution=size))
    head = MaskHead(head_config(generator))
    of_head = {**vars(head.config), "feature_channels": list(head.config.feature_channels)}
    networks = {"mask": head, ENCODER_NAME: encoder, NETWORK_NAME: category_networks(config)}
    prior = replace(
        plain,
        calibration=Calibration(depth_scale=1.1, tilt=(0.01, 0.02), fusion_yaws_deg=(-10.0, 10.0)),
        networks={name: network.state_dict() for name, network in networks.items()},
        network_configs={"mask": of_head, ENCODER_NAME: encoder_settings(encoder), NETWORK_NAME: settings(config)},
    )
    save_pack(folder / category, prior)
    return folder / category


def disc_mask(size: int) -> torch.Tensor:
    """A disc in the middle, [1, 1, S, S]."""
    at = (torch.arange(size) + 0.5) / size - 0.5
    return ((at[None, :] ** 2 + at[:, None] ** 2) < 0.35**2).float()[None, None]
