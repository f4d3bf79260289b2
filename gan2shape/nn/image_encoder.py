"""The image encoder that is trained beside a generator: image -> z, as a normal distribution.

It gives the generator a target to reproduce (module `autoencoding`), which a small training budget needs, and a pack
that carries it inverts an image in one pass. Conventions: images float in [-1, 1]; z as the mapping network takes it.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.seeding import seeded
from gan2shape.nn.discriminator import (
    FINAL_RESOLUTION,
    Discriminator,
    DiscriminatorBlock,
    DiscriminatorConfig,
    trunk_features,
)
from gan2shape.nn.layers import FullyConnected, full_precision, normalize_second_moment

ENCODER_NAME = "encoder"  # of the network in a pack
LOG_VARIANCE_RANGE = (-10.0, 4.0)  # keeps exp() tame while the encoder is young
MOMENT_DECAY = 0.99  # of the running second moment, per step
MOMENT_FLOOR = 0.05  # added to it before inversion: an empty direction pulls at most 20 times
LOG_VARIANCE_INIT = -2.0  # a fairly certain start: reconstruction is learnt before the prior is matched


@dataclass(frozen=True)
class ImageEncoderConfig:
    """The discriminator's trunk, and a head with two numbers for each latent dimension."""

    trunk: DiscriminatorConfig  # resolution, widths and resampling of the convolutions
    z_dim: int = 128  # latent size of the generator
    width: int = 256  # of the hidden layer between trunk and latent


class ImageEncoder(nn.Module):
    """`encoder(image)` -> mean and log variance of z."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        self.config = config
        trunk = config.trunk
        self.block_names = tuple(f"b{resolution}" for resolution in reversed(trunk.resolutions[1:]))
        for offset, name in enumerate(self.block_names):
            self.add_module(name, DiscriminatorBlock(trunk, len(self.block_names) - offset))
        self.hidden = FullyConnected(trunk.channels[0] * FINAL_RESOLUTION**2, config.width, activate=True)
        self.mean = FullyConnected(config.width, config.z_dim, activate=False)
        self.log_variance = FullyConnected(config.width, config.z_dim, activate=False, bias_init=LOG_VARIANCE_INIT)
        self.register_buffer("second_moment", torch.eye(config.z_dim))  # of the latents' directions, see `coverage`

    def forward(self, image: Float[Tensor, "B C S S"]) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z"]]:
        """Mean and log variance of z for each image."""
        x = trunk_features([getattr(self, name) for name in self.block_names], image)[-1]
        x = self.hidden(full_precision(x.flatten(1)))
        return self.mean(x), self.log_variance(x).clamp(*LOG_VARIANCE_RANGE)


def encoder_beside(discriminator: Discriminator, z_dim: int) -> ImageEncoder:
    """A new encoder whose trunk starts with the discriminator's weights: its features know the images already."""
    encoder = ImageEncoder(ImageEncoderConfig(replace(discriminator.config, n_classes=0), z_dim))
    take_trunk(encoder, discriminator)
    return encoder


def take_trunk(encoder: ImageEncoder, discriminator: Discriminator) -> None:
    """Overwrite the encoder's trunk with the discriminator's."""
    wanted = encoder.state_dict()
    found = {name: tensor for name, tensor in discriminator.state_dict().items() if name in wanted}
    encoder.load_state_dict(wanted | found)


def encoder_settings(encoder: ImageEncoder) -> dict:
    """Configuration as plain JSON types, for `build_encoder`."""
    return asdict(encoder.config)


def build_encoder(settings: dict, state: dict[str, Tensor]) -> ImageEncoder:
    """The encoder that a pack or checkpoint holds."""
    trunk = {name: tuple(value) if isinstance(value, list) else value for name, value in settings["trunk"].items()}
    with seeded(0):  # replaced at once
        encoder = ImageEncoder(ImageEncoderConfig(DiscriminatorConfig(**trunk), settings["z_dim"], settings["width"]))
    encoder.load_state_dict(state)
    return encoder


def sample_posterior(
    mean: Float[Tensor, "B Z"], log_variance: Float[Tensor, "B Z"], noise: Float[Tensor, "B Z"]
) -> Float[Tensor, "B Z"]:
    """z = mean + sd x noise (Kingma and Welling 2014, section 2.4)."""
    return mean + torch.exp(0.5 * log_variance) * noise


def divergence(mean: Float[Tensor, "B Z"], log_variance: Float[Tensor, "B Z"]) -> Float[Tensor, ""]:
    """KL(N(mean, variance) || N(0, 1)) in nats, summed over dimensions, averaged over images (same paper, appendix
    B).
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1).mean()


def coverage(
    encoder: ImageEncoder, z: Float[Tensor, "B Z"], gather: Callable[[Tensor], Tensor] = lambda mean: mean
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """(loss, measure) of how evenly the latents of images cover the directions that random latents have.

    The mapping network sees z / rms(z) only, and random ones point everywhere: second moment 1. A divergence per image
    does not stop the latents of all images from crowding into one cone, where random latents never come. The loss is
    -log det S / 2 of their second moment S, differentiated at its running mean; the measure is log det S a dimension,
    0 at best. Updates the running mean. `gather` makes the second moment of a part of the batch that of the whole one.
    """
    with torch.autocast(z.device.type, enabled=False):  # moments and their inverse in float32, whatever surrounds them
        return _coverage(encoder, full_precision(z), gather)


def _coverage(
    encoder: ImageEncoder, z: Float[Tensor, "B Z"], gather: Callable[[Tensor], Tensor]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    direction = normalize_second_moment(z)
    with torch.no_grad():
        now = gather(direction.t() @ direction / len(direction))
        encoder.second_moment.lerp_(now, 1.0 - MOMENT_DECAY)
        floored = encoder.second_moment + MOMENT_FLOOR * torch.eye(z.shape[1], device=z.device)
        inverse = torch.linalg.inv(floored)
        measure = torch.logdet(floored) / z.shape[1]
    return -0.5 * ((direction @ inverse) * direction).sum(dim=1).mean(), measure
