"""A 32-pixel prior with random weights and settings that run in seconds: structure is tested here, quality on the
ladder.
"""

from dataclasses import dataclass, replace

import torch

from gan2shape.core.config import (
    InitialShapeConfig,
    InvertConfig,
    NetworkConfig,
    RenderConfig,
    ShapeConfig,
    StepConfig,
)
from gan2shape.core.records import Observation
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.image_encoder import ENCODER_NAME, encoder_beside, encoder_settings
from gan2shape.nn.mask_head import MaskHead, head_config
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.masked_generator import MaskedGenerator, observe_latent
from gan2shape.prior.packs import freeze, make_prior
from gan2shape.prior.scene import category_networks

SIZE = 32

CONFIG = ShapeConfig(
    n_stages=2,
    render=RenderConfig(resolution=SIZE),
    # Three halvings leave 4 pixels: the smallest networks that have every kind of layer.
    networks=NetworkConfig(autoencoder_channels=(8, 8, 8), code_dim=16, encoder_channels=(8, 8, 8), encoder_dim=16),
    invert=InvertConfig(n_steps=40, n_starts=8, n_tracks=2),
    steps=StepConfig(n_albedo=(3,), n_projection=(3, 2), n_collect=8, n_joint=(4,), batch=4),
)


def tiny_generator(seed: int = 0) -> MaskedGenerator:
    """Generator, discriminator and mask head with seeded random weights."""
    torch.manual_seed(seed)
    generator = Generator(GeneratorConfig(resolution=SIZE, channels=(8, 8, 8, 8), z_dim=8, w_dim=8, n_mapping=3))
    discriminator = Discriminator(DiscriminatorConfig(resolution=SIZE, channels=(8, 8, 8, 8), unshuffle=False))
    prior = make_prior(generator, discriminator)
    return MaskedGenerator(prior, MaskHead(head_config(generator)).eval().requires_grad_(False))


def with_encoder(generator: MaskedGenerator, seed: int = 1) -> MaskedGenerator:
    """The same generator with an image encoder of seeded random weights in its pack."""
    torch.manual_seed(seed)
    encoder = encoder_beside(generator.prior.discriminator, generator.prior.generator.config.z_dim).eval()
    networks, settings = {ENCODER_NAME: encoder.state_dict()}, {ENCODER_NAME: encoder_settings(encoder)}
    return replace(generator, prior=replace(generator.prior, networks=networks, network_configs=settings))


def seeing_networks() -> SceneNetworks:
    """Scene networks whose depth depends on what is seen."""
    torch.manual_seed(0)
    networks = category_networks(CONFIG)
    with torch.no_grad():
        networks.depth_net.body[-1].weight.mul_(30.0)
    return freeze(networks)


def disc_mask(radius_px: float = 12.0) -> torch.Tensor:
    """A disc in the middle, [1, 1, S, S]."""
    at = torch.arange(SIZE) + 0.5 - SIZE / 2
    return ((at[None, :] ** 2 + at[:, None] ** 2) < radius_px**2).float()[None, None]


@dataclass(frozen=True)
class Seen(MaskedGenerator):
    """A generator whose every sample shows a disc, or, with radius 0, nothing."""

    radius_px: float = 12.0

    def __call__(self, latents):
        images = self.prior.generator.synthesis(latents).clamp(-1, 1)
        return images, disc_mask(self.radius_px).expand(len(images), -1, -1, -1)


def bumps(n: int, seed: int = 0) -> torch.Tensor:
    """n smooth depth maps about 1."""
    coarse = torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return 1 + 0.02 * torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear")


def tiny_observation(generator: MaskedGenerator) -> Observation:
    """A sample with a disc as its mask."""
    observation = observe_latent(generator.prior.w_mean[None], generator)
    return replace(observation, mask=disc_mask())


def with_steps(**changes) -> ShapeConfig:
    """CONFIG with other step counts or weights."""
    return replace(CONFIG, steps=replace(CONFIG.steps, **changes))


def with_initial(**changes) -> ShapeConfig:
    """CONFIG with another ellipsoid."""
    return replace(CONFIG, initial=replace(InitialShapeConfig(), **changes))
