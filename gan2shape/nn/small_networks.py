"""The small networks of bundled packs at any resolution: above theirs the last width repeats, below it the last are
left out.
"""

from dataclasses import replace

from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.generator import GeneratorConfig


def small_generator(resolution: int) -> GeneratorConfig:
    """The default generator for images of `resolution` pixels, a power of two of at least 8."""
    own = GeneratorConfig()
    return replace(own, resolution=resolution, channels=_widths(own.channels, resolution.bit_length() - 2))


def small_discriminator(resolution: int) -> DiscriminatorConfig:
    """The default discriminator; an image encoder's trunk is one as well."""
    own = DiscriminatorConfig()
    return replace(own, resolution=resolution, channels=_widths(own.channels, resolution.bit_length() - 3))


def _widths(known: tuple[int, ...], n: int) -> tuple[int, ...]:
    return (*known, *known[-1:] * n)[:n]
