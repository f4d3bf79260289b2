"""Somebody's own StyleGAN2 in the place of a category's pack.

What the method needs besides G, and where it comes from: views and lamps from what `gan2shape prior` has read off
samples, else from a category's YAML, as strengths of lamps and relief always; the perceptual distance from the
checkpoint's discriminator, else from a TorchScript module that the user names, else from the category's pack; object
masks from a network inside the checkpoint, from what `gan2shape prior` has kept, or from the user. Large generators
are worked with at 128 x 128, small ones at their own side.
"""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.resources import known_categories, pack_dir
from gan2shape.nn.feature_metric import DiscriminatorMetric, FeatureMetric, load_script
from gan2shape.nn.sized_generator import at_size
from gan2shape.prior.cache import EstimatedPrior, find_estimated
from gan2shape.prior.checkpoint import load_generator
from gan2shape.prior.masked_generator import MaskedGenerator, build_head, masked_generator
from gan2shape.prior.packs import Prior, load_pack
from gan2shape.prior.ranges import KEYS

WORKING_SIZE = 128  # side at which larger generators are worked with (published)
LEAST_SIZE = 16  # the scene networks halve the side four times
SIZE_KEY = "render.size="  # a user's word for the side counts, up to the generator's own
NEVER_READ = ("lights.gain", "prior_shape.relief")  # what else a category says about its objects
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
    prior = load_generator(path, device)
    resolution = checked_side(path, prior)
    kept = find_estimated(path, device)
    chosen = chosen_category(path, category, kept, prior)
    config = own_config(path, chosen, preset, overrides, kept)
    size = config.render.size if any(word.startswith(SIZE_KEY) for word in overrides) else WORKING_SIZE
    size = min(size, resolution)
    if size % LEAST_SIZE:
        raise UserError(f"render.size={size} does not work: give a multiple of {LEAST_SIZE}.")
    metric, told = choose_metric(prior, chosen, features, size, device)
    notes = [f"Compared by: {told}.", f"Working size: {size} x {size}" + _of(resolution, size)]
    if size != resolution:
        fitting = {name: state for name, state in prior.networks.items() if name not in OWN_NETWORKS_AT_SIZE}
        prior = replace(prior, networks=fitting)
    centre = own_centre(prior)
    opened = masked_generator(replace(prior, generator=at_size(prior.generator, size), discriminator=metric))
    notes.append(origins(config, chosen, kept, overrides))
    source = "only what --mask says"
    if opened.head is not None:
        source = "by a network in the checkpoint"
    elif kept is not None:
        opened = replace(opened, head=build_head(kept.head_settings, kept.head_state))
        source = "by what `gan2shape prior` learnt"
    notes.append(f"Object masks: {source}.")
    opened = replace(opened, centre=centre, needs_mask=True, notes=tuple(notes))
    return opened, replace(config, render=replace(config.render, size=size))


def own_centre(prior: Prior) -> Float[Tensor, " D"] | None:
    """What samples are truncated towards: a checkpoint's own mean of w; None for our packs: the measured one."""
    return prior.generator.w_avg if "checkpoint" in prior.card else None


def checked_side(path: Path, prior: Prior) -> int:
    """The side of the generator's images. Raises UserError for images that the method cannot work with."""
    own = prior.generator.config
    if own.image_channels != 3 or own.resolution < LEAST_SIZE:
        raise UserError(
            f"{path} draws {own.image_channels} channels of {own.resolution} x {own.resolution} pixels: "
            f"give a generator of RGB images of at least {LEAST_SIZE} x {LEAST_SIZE}."
        )
    return own.resolution


def chosen_category(path: Path, category: str | None, kept: EstimatedPrior | None, prior: Prior) -> str | None:
    """The category that is named now, else the one that was named to `gan2shape prior` (None: typed defaults), else the
    one on the card of a pack or of a copy of it.

    Raises UserError where nothing says which views and lights to draw.
    """
    known = known_categories()
    carded = prior.card.get("category")
    if category is None and kept is None and carded not in known:
        raise UserError(
            f"Nothing says which views and lights suit {path}: "
            f"give the nearest --category (known: {', '.join(known)}), here or once to `gan2shape prior`."
        )
    return category or (kept.category if kept is not None else carded)


def own_config(
    path: Path, category: str | None, preset: str, overrides: tuple[str, ...], kept: EstimatedPrior | None
) -> ShapeConfig:
    """The configuration for a checkpoint: the category's, then what was read off samples, then the user's words."""
    config = compose(ShapeConfig, category, preset, (*read_words(kept, category), *overrides))
    return config if category is not None else replace(config, category=Path(path).stem)


def read_words(kept: EstimatedPrior | None, category: str | None) -> tuple[str, ...]:
    """What was read off samples by the networks of that category, as `key=value`: nothing, if it was another's."""
    return kept.words if kept is not None and kept.category == category else ()


def source_of(category: str | None) -> str:
    """Whose ranges they are, in words."""
    return "typed defaults" if category is None else f"category {category}"


def origins(config: ShapeConfig, category: str | None, kept: EstimatedPrior | None, overrides: tuple[str, ...]) -> str:
    """What pseudo samples are drawn from, and where each value comes from, in a sentence."""
    read = {word.partition("=")[0] for word in read_words(kept, category)}
    parts: dict[str, list[str]] = {"as you say": [], "read off samples": [], source_of(category): []}
    for key in (*KEYS, *NEVER_READ):
        room, _, name = key.partition(".")
        value = getattr(getattr(config, room), name)
        shown = f"{value:g}" if isinstance(value, float) else f"{value[0]:g} to {value[1]:g}"
        origin = "as you say" if is_said(key, overrides) else "read off samples" if key in read else source_of(category)
        parts[origin].append(f"{key} {shown}")
    return "Drawn: " + "; ".join(f"{', '.join(some)} ({origin})" for origin, some in parts.items() if some) + "."


def is_said(key: str, overrides: tuple[str, ...]) -> bool:
    """Whether the user's words name a dotted key, alone or within its section."""
    section, _, name = key.rpartition(".")
    return any(
        word.startswith(f"{key}=") or (word.startswith(f"{section}=") and f"{name}:" in word) for word in overrides
    )


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
