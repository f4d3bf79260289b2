"""The bundled prior of a category."""

from dataclasses import replace

import torch

from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.core.devices import resolve_device
from gan2shape.core.errors import UserError
from gan2shape.core.resources import pack_dir
from gan2shape.prior.custom import SIZE_KEY
from gan2shape.prior.masked_generator import MaskedGenerator, masked_generator
from gan2shape.prior.packs import load_pack


def open_generator(category: str, device: torch.device | str = "cpu") -> MaskedGenerator:
    """The bundled prior of a category. Raises UserError when its weights are missing or damaged."""
    folder = pack_dir(category)
    if not folder.is_dir():
        raise UserError(
            f"There are no weights for {category} in {folder.parent}: build them with scripts/build_pack.py."
        )
    return masked_generator(load_pack(folder, device))


def open_bundled(
    category: str, preset: str | None, overrides: tuple[str, ...] = (), device: str = "auto"
) -> tuple[MaskedGenerator, ShapeConfig]:
    """The bundled generator of a category, and the configuration at its side, whatever a preset says (`paper`: 128).

    Raises UserError for missing or damaged weights, unknown words, and where the user asked for another side.
    """
    config = compose(ShapeConfig, category, preset, overrides)
    generator = open_generator(category, resolve_device(device))
    side = generator.prior.generator.config.resolution
    if config.render.size != side and any(word.startswith(SIZE_KEY) for word in overrides):
        raise UserError(f"render.size={config.render.size} does not fit the bundled generator: leave it at {side}.")
    return generator, replace(config, render=replace(config.render, size=side))
