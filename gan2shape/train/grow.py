"""From a pack to a training at twice its resolution (after Karras et al. 2018, "Progressive growing of GANs").

One more block each, thin: what is new is detail. It adds nothing at first. The generator draws what the pack draws,
enlarged bilinearly; the discriminator and the image encoder judge the area average of an image as the pack's do. So
nothing has to be learnt again, and there is no fade: the new blocks begin at zero output and grow as they learn.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gan2shape.core.errors import UserError
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.image_encoder import ENCODER_NAME, ImageEncoder
from gan2shape.prior.packs import Prior, load_pack
from gan2shape.train.state import TrainState, copy_trunk

GENERATOR_WIDTH = 16  # channels of the generator's new block, or as many as its last one has if that is thinner
DISCRIMINATOR_WIDTH = 24  # the same of the discriminator and of the encoder's trunk


def grown_settings(pack: str | Path) -> dict[str, Any]:
    """The networks of a training that grows the pack, as values of `TrainConfig` by dotted key.

    Raises UserError where the folder holds no pack, or one whose networks cannot grow.
    """
    prior = load_pack(pack)
    if not isinstance(prior.discriminator, Discriminator):
        raise UserError(f"{pack} holds no discriminator: grow a pack that `gan2shape build` has made.")
    networks = {
        "generator": grown_generator(prior.generator.config),
        "discriminator": grown_discriminator(prior.discriminator.config),
    }
    return {f"{name}.{key}": value for name, config in networks.items() for key, value in asdict(config).items()}


def grown_generator(config: GeneratorConfig) -> GeneratorConfig:
    """The configuration with one block more. Raises UserError for one that is no sum of images."""
    if config.architecture != "skip" or config.last_stage == "shuffle":
        raise UserError("Only a generator that adds up the colours of its blocks can grow: train a larger one anew.")
    width = min(GENERATOR_WIDTH, config.channels[-1])
    return replace(config, resolution=2 * config.resolution, channels=(*config.channels, width))


def grown_discriminator(config: DiscriminatorConfig) -> DiscriminatorConfig:
    """The configuration with one block more, in front, beside which the old ones go on seeing the image."""
    width = min(DISCRIMINATOR_WIDTH, config.channels[-1])
    return replace(
        config,
        resolution=2 * config.resolution,
        channels=(*config.channels, width),
        n_from_rgb=config.n_from_rgb + 1,
    )


def start_grown(state: TrainState, prior: Prior, batch: int) -> None:
    """Take over the networks of a pack of half the resolution and the number of images on its card.

    Raises UserError where the networks of `state` are not the pack's grown ones.
    """
    theirs = prior.discriminator
    if not isinstance(theirs, Discriminator) or (state.generator.config, state.discriminator.config) != (
        grown_generator(prior.generator.config),
        grown_discriminator(theirs.config),
    ):
        raise UserError("The networks to train are not the pack's with one block more: leave their settings out.")
    for generator in (state.generator, state.average):
        _take_generator(generator, prior.generator)
    take_trunk_grown(state.discriminator, theirs.state_dict())
    if state.encoder is not None and ENCODER_NAME in prior.networks:
        for encoder in (state.encoder, state.encoder_average):
            take_trunk_grown(encoder, prior.networks[ENCODER_NAME])
    elif state.encoder is not None:
        copy_trunk(state)
    state.n_images = int(1000 * prior.card.get("training", {}).get("kimg", 0))
    state.step = state.n_images // batch


@torch.no_grad()
def _take_generator(ours: Generator, theirs: Generator) -> None:
    ours.load_state_dict({**ours.state_dict(), **theirs.state_dict()})
    newest = ours.synthesis.blocks()[-1]
    newest.torgb.weight.zero_()
    newest.torgb.bias.zero_()


@torch.no_grad()
def take_trunk_grown(ours: Discriminator | ImageEncoder, theirs: dict[str, torch.Tensor]) -> None:
    """Load the state of half the resolution, and let the first block add nothing to it."""
    ours.load_state_dict({**ours.state_dict(), **theirs})
    newest: nn.Module = getattr(ours, ours.block_names[0])
    newest.conv1.weight.zero_()
    if newest.has_residual:
        newest.skip.weight.zero_()
