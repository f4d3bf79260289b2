"""Somebody's own StyleGAN2 in the place of a category's pack.

What the method needs besides G, and where it comes from: views, lights and relief from a category's YAML; the
perceptual distance from the checkpoint's discriminator, else from a TorchScript module that the user names, else from
the category's pack; object masks from the user or from networks inside the checkpoint. Large generators are worked with
at 128 x 128, small ones at their own side.
"""

from dataclasses import replace
from pathlib import Path

import torch

from gan2shape.compose import compose
from gan2shape.config import ShapeConfig
from gan2shape.gan.checkpoints import load_generator
from gan2shape.gan.packs import Prior, load_pack
from gan2shape.gan.perceptual import DiscriminatorMetric, FeatureMetric, load_script
from gan2shape.gan.working_size import at_size
from gan2shape.records import UserError
from gan2shape.resources import known_categories, pack_dir
from gan2shape.shape.observe import MaskedGenerator, masked_generator

WORKING_SIZE = 128  # side at which larger generators are worked with (published)
LEAST_SIZE = 16  # the scene networks halve the side four times
SIZE_KEY = "render.size="  # a user's word for the side counts, up to the generator's own
OWN_NETWORKS_AT_SIZE = ("encoder",)  # networks of a pack that only fit its own side


def open_own(
    path: Path,
    category: str | None,
    preset: str,
    overrides: tuple[str, ...] = (),
    features: Path | None = None,
    device: torch.device | str = "cpu",
) -> tuple[MaskedGenerator, ShapeConfig]:
    """A checkpoint's generator ready for the method, and the configuration that fits it.

    category: whose ranges of views, lights and relief are taken. features: a TorchScript module, which is CODE.
    Raises UserError with cause and remedy.
    """
    config = own_config(path, category, preset, overrides)
    prior = load_generator(path, device)
    own = prior.generator.config
    if own.image_channels != 3 or own.resolution < LEAST_SIZE:
        raise UserError(
            f"{path} draws {own.image_channels} channels of {own.resolution} x {own.resolution} pixels: "
            f"give a generator of RGB images of at least {LEAST_SIZE} x {LEAST_SIZE}."
        )
    size = config.render.size if any(word.startswith(SIZE_KEY) for word in overrides) else WORKING_SIZE
    size = min(size, own.resolution)
    metric, told = choose_metric(prior, category, features, size, device)
    notes = [f"Compared by: {told}.", f"Working size: {size} x {size}" + _of(own.resolution, size)]
    if size != own.resolution:
        kept = {name: state for name, state in prior.networks.items() if name not in OWN_NETWORKS_AT_SIZE}
        prior = replace(prior, networks=kept)
    is_pack = "checkpoint" not in prior.card
    centre = None if is_pack else prior.generator.w_avg
    opened = masked_generator(replace(prior, generator=at_size(prior.generator, size), discriminator=metric))
    notes.append("Object masks: " + ("by a network in the checkpoint." if opened.head else "only what --mask says."))
    opened = replace(opened, centre=centre, needs_mask=True, notes=tuple(notes))
    return opened, replace(config, render=replace(config.render, size=size))


def own_config(path: Path, category: str | None, preset: str, overrides: tuple[str, ...]) -> ShapeConfig:
    """The configuration for a checkpoint. Raises UserError where nothing says which views and lights to draw."""
    if category is None:
        known = ", ".join(known_categories())
        raise UserError(
            f"Nothing says which views and lights suit {path}: give --category (known: {known}), the nearest one."
        )
    return compose(ShapeConfig, category, preset, overrides)


def choose_metric(
    prior: Prior, category: str | None, features: Path | None, size: int, device: torch.device | str
) -> tuple[FeatureMetric, str]:
    """(what compares images, what it is in words). Raises UserError where there is nothing."""
    if features is not None:
        return load_script(features, size, device), f"the TorchScript module {features.name}"
    if prior.discriminator is not None:
        return DiscriminatorMetric(prior.discriminator), "the checkpoint's own discriminator"
    folder = None if category is None else pack_dir(category)
    borrowed = load_pack(folder, device).discriminator if folder is not None and folder.is_dir() else None
    if borrowed is None:
        raise UserError(
            "The checkpoint has no discriminator to compare images with: name a TorchScript feature network with "
            "--features, or a --category that has a bundled pack."
        )
    side = borrowed.config.resolution
    told = f"the discriminator of the bundled {category} pack (the checkpoint has none), at {side} x {side}"
    return DiscriminatorMetric(borrowed, side), told


def _of(resolution: int, size: int) -> str:
    return "." if resolution == size else f" (the generator draws {resolution} x {resolution})."
