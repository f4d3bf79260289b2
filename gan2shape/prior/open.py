"""The one way to a prior: a category's bundled pack, or a custom generator in its place.

A custom generator needs more than G. A pack that `gan2shape build --generator` made for it (`prior.made`) has all of
it. Else, where each part comes from:

    views and lights     what `gan2shape prior` read off samples, else a pack's own calibration, else the category's
    feature distance     a TorchScript module that the user names, else the checkpoint's discriminator, else the
                         discriminator of the category's pack
    object masks         a network in the checkpoint, else what `gan2shape prior` learnt, else the user
    resolution           128 for larger generators (published), their own for smaller ones; blocks beyond it are run
                         coarsely where that is measured to be near (prior/coarse.py)
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.compose import compose
from gan2shape.core.config import BF16, COARSE, FP32, FULL, ShapeConfig
from gan2shape.core.devices import choose_device, has_fast_bfloat16
from gan2shape.core.errors import UserError
from gan2shape.core.requests import address_of, no_generator
from gan2shape.core.resources import known_categories, pack_dir
from gan2shape.nn.feature_metric import DiscriminatorMetric, FeatureMetric, load_script
from gan2shape.nn.image_encoder import ENCODER_NAME
from gan2shape.nn.sized_generator import at_size
from gan2shape.prior.cache import EstimatedPrior, find_estimated
from gan2shape.prior.calibration import Calibration, read_calibration
from gan2shape.prior.checkpoint import load_generator
from gan2shape.prior.coarse import choose_last_blocks
from gan2shape.prior.made import MadePack, find_made, is_made, with_made
from gan2shape.prior.masked_generator import MaskedGenerator, build_head, masked_generator, require_fitting_head
from gan2shape.prior.packs import Origin, Prior, load_pack, of_class
from gan2shape.prior.ranges import KEYS
from gan2shape.prior.scene import NETWORK_NAME
from gan2shape.scene.pytorch3d_raster import require_backend

WORKING_RESOLUTION = 128  # at which larger generators are used (published)
LEAST_RESOLUTION = 16  # the scene networks halve the resolution four times
RESOLUTION_KEY = "render.resolution="  # an override of the resolution counts, up to the generator's own
NEVER_READ = ("lights.gain", "initial.depth_scale")  # further keys in which categories differ
BFLOAT16_NOTE = "Its convolutions work in bfloat16 (render.precision=fp32 is exact and slower)."
# Without an image encoder E learns alone, and what a run costs is the generator's passes: about as many steps as by
# default, of few pseudo samples each. Presets come after this; full takes the typed defaults again.
WITHOUT_ENCODER = {
    "initial.slant_steps": 60,
    "initial.slant_judged": 32,
    "steps.n_projection": (90,),
    "steps.projection_batch": 4,
}
NETWORKS_AT_OWN_RESOLUTION = ("encoder",)  # networks of a pack that only fit its own resolution


def open_prior(
    category: str | None = None,
    generator: str | Path | None = None,
    preset: str | None = "draft",
    overrides: Sequence[str] = (),
    features: str | Path | None = None,
    device: torch.device | str = "auto",
    class_index: int | None = None,
    with_pack: bool = True,
) -> tuple[MaskedGenerator, ShapeConfig]:
    """A generator that is ready for the method, and the configuration that fits it.

    Args:
        category: whose pack; with a `generator`, whose ranges of views and lights. Without a generator: car unless
            given. With one: the category of its card, or of `gan2shape prior`, unless given.
        generator: a StyleGAN2 checkpoint or a pack, used in the place of the category's pack. A pack that was made for
            a checkpoint is found by the checkpoint's contents.
        preset, overrides: of the configuration, as `compose` takes them. Whatever the preset, `render.resolution`
            becomes the resolution at which the generator is used.
        features: a TorchScript module (code, which runs) that compares images; only with a `generator`.
        device: `auto`, `cpu`, `cuda`, …
        class_index: of a class-conditional `generator`, the class to generate; the first one unless given.
        with_pack: use the pack that was built for the `generator`, where there is one.
    Raises UserError with cause and remedy for everything that cannot be used.
    """
    overrides, device = tuple(overrides), choose_device(str(device))
    if generator is not None:
        if not (address_of(generator) or Path(generator).exists()):
            raise no_generator(Path(generator), category)
        script = None if features is None else Path(features)
        further = (script, device, class_index, with_pack)
        opened, config = _open_custom(Path(generator), category, preset, overrides, *further)
        require_backend(config.render.backend)
        return opened, config.scaled()
    if features is not None:
        raise UserError("--features belongs to a --generator: give both.")
    opened, config = _open_bundled(category or ShapeConfig.category, preset, overrides, device, class_index)
    require_backend(config.render.backend)
    return opened, config.scaled()


def _open_bundled(
    category: str, preset: str | None, overrides: tuple[str, ...], device: torch.device, class_index: int | None
) -> tuple[MaskedGenerator, ShapeConfig]:
    config, folder = category_config(category, preset, overrides), pack_dir(category)
    if not folder.is_dir():
        raise UserError(
            f"There are no weights for {category} in {folder.parent}: make them with `gan2shape build {category}`."
        )
    prior = replace(load_pack(folder, device), origin=Origin(category, None, class_index))
    if prior.generator.config.n_classes:
        prior = of_class(prior, class_index or 0)
    elif class_index is not None:
        raise UserError(
            f"The bundled generator of {category} has no classes: leave out --class, or name a class-conditional "
            "--generator."
        )
    generator = masked_generator(prior)
    resolution = generator.prior.generator.config.resolution
    if config.render.resolution != resolution and is_overridden(RESOLUTION_KEY.rstrip("="), overrides):
        raise UserError(
            f"render.resolution={config.render.resolution} does not fit the bundled generator: "
            f"leave it at {resolution}."
        )
    return generator, replace(config, render=replace(config.render, resolution=resolution))


def category_config(category: str | None, preset: str | None = None, overrides: Sequence[str] = ()) -> ShapeConfig:
    """A category's configuration with the calibration of its bundled pack, where there is one; None: typed defaults.

    The calibration comes after the category and before the preset. Raises UserError as `compose` does, and for a
    damaged calibration.
    """
    return compose(ShapeConfig, category, preset, overrides, calibration=bundled_calibration(category).settings)


def bundled_calibration(category: str | None) -> Calibration:
    """That of the category's bundled pack; without one, the calibration that sets nothing."""
    known = category is not None and category in known_categories()
    return read_calibration(pack_dir(category)) if known else Calibration()


def fitting_calibration(own: Calibration, networks: Iterable[str], category: str | None) -> Calibration:
    """What a custom generator is used with: its own calibration; that of the category's bundled pack where it has none,
    and no scene networks either, whose depth the bundled pack's would not fit.
    """
    return own if own.settings or NETWORK_NAME in networks else bundled_calibration(category)


def _open_custom(
    path: Path,
    category: str | None,
    preset: str | None,
    overrides: tuple[str, ...],
    features: Path | None,
    device: torch.device,
    class_index: int | None,
    with_pack: bool,
) -> tuple[MaskedGenerator, ShapeConfig]:
    named, made = path, find_made(path, device, class_index) if is_made(path) else None
    if made is not None:
        path, class_index = made.generator, made.class_index
    whole = load_generator(path, device, class_index)
    resolution = checked_resolution(path, whole)
    made = find_made(path, device, class_index) if made is None and with_pack else made
    kept = find_estimated(path, device, class_index) if made is None else made
    chosen = chosen_category(path, category, kept, whole)
    is_own, own_calibration = is_pack(whole), whole.calibration if made is None else made.calibration
    settings = (*read_settings(kept, chosen), *overrides)
    networks = {**whole.networks, **({} if made is None else made.networks)}
    known = custom_settings(networks, fitting_calibration(own_calibration, networks, chosen))
    config = compose(ShapeConfig, chosen, preset, settings, calibration=known)
    config = config if chosen is not None else replace(config, category=path.stem)
    usual = WORKING_RESOLUTION if made is None else made.resolution
    wanted = config.render.resolution if is_overridden(RESOLUTION_KEY.rstrip("="), overrides) else usual
    size = min(wanted, resolution)
    if size % LEAST_RESOLUTION:
        raise UserError(f"render.resolution={size} does not work: give a multiple of {LEAST_RESOLUTION}.")
    is_bfloat16 = uses_bfloat16(config.render.precision, device, is_own)
    metric, metric_name = choose_metric(whole, chosen, features, size, device, is_bfloat16)
    centre = truncation_centre(whole)
    middle = whole.w_mean if centre is None else centre
    is_coarse, drawn_how = choose_last_blocks(whole.generator, middle, size, config.render.last_blocks)
    sized = at_resolution(whole, size, is_coarse, is_bfloat16)
    sized = replace(sized, discriminator=metric, origin=Origin(chosen, named, class_index))
    if made is not None:
        sized = with_made(sized, made, size)
    opened, masks_from = with_masks(masked_generator(sized), kept)
    require_fitting_head(opened)
    notes = (
        f"Compared by: {metric_name}.",
        f"Working size: {size} x {size}" + _of(resolution, size),
        *([drawn_how] if drawn_how else []),
        *([BFLOAT16_NOTE] if is_bfloat16 else []),
        origins(config, chosen, kept, overrides, own_calibration),
        f"Object masks: {masks_from}.",
        *(() if made is None else (made_note(made, size),)),
    )
    opened = replace(opened, centre=centre, needs_mask=True, notes=notes)
    how = {} if is_own else {"precision": BF16 if is_bfloat16 else FP32}
    how |= {"last_blocks": COARSE if is_coarse else FULL} if resolution > size else {}
    render = replace(config.render, resolution=size, **how)
    return opened, replace(config, render=render)


def custom_settings(networks: Iterable[str], calibration: Calibration) -> dict[str, Any]:
    """What is set before the preset: the calibration, and how E learns where no image encoder helps."""
    return {**({} if ENCODER_NAME in networks else WITHOUT_ENCODER), **calibration.settings}


def uses_bfloat16(precision: str, device: torch.device, is_own: bool = False) -> bool:
    """Whether a custom generator works in bfloat16; `is_own`: it is a copy of one of our packs, which are small."""
    return precision == BF16 or (precision == "auto" and not is_own and has_fast_bfloat16(device))


def at_resolution(prior: Prior, size: int, is_coarse: bool = False, is_bfloat16: bool = False) -> Prior:
    """The prior with its images averaged to `size` pixels, or with coarse last blocks, and without networks that do not
    fit then.
    """
    sized = at_size(prior.generator, size, is_coarse, is_bfloat16)
    if size == prior.generator.config.resolution:
        return replace(prior, generator=sized)
    fitting = {name: state for name, state in prior.networks.items() if name not in NETWORKS_AT_OWN_RESOLUTION}
    return replace(prior, generator=sized, networks=fitting)


def made_note(made: MadePack, size: int) -> str:
    """What a pack that was made for the generator gives at this resolution, in a sentence."""
    if size == made.resolution:
        return "Shapes begin at the depth network of the pack that was built for this generator."
    return (
        f"The pack that was built for this generator works at {made.resolution} x {made.resolution}: at this "
        "resolution only its object masks are used."
    )


def with_masks(opened: MaskedGenerator, kept: EstimatedPrior | MadePack | None) -> tuple[MaskedGenerator, str]:
    """(the generator with a mask head where there is one, where its masks come from)."""
    if opened.head is not None:
        is_made = isinstance(kept, MadePack)
        return opened, "by the pack that was built for it" if is_made else "by a network in the checkpoint"
    if kept is None or isinstance(kept, MadePack):
        return opened, "only those of --mask"
    return replace(opened, head=build_head(kept.head_settings, kept.head_state)), "by what `gan2shape prior` learnt"


def truncation_centre(prior: Prior) -> Float[Tensor, " D"] | None:
    """What samples are truncated towards: a checkpoint's own mean of w; None for our packs: the measured one."""
    return None if is_pack(prior) else prior.generator.w_avg


def is_pack(prior: Prior) -> bool:
    """Whether it is one of our packs, or a copy of one; of others the reader makes the card."""
    return "checkpoint" not in prior.card


def checked_resolution(path: Path, prior: Prior) -> int:
    """The resolution of the generator. Raises UserError for images that the method cannot work with."""
    own = prior.generator.config
    if own.image_channels != 3 or own.resolution < LEAST_RESOLUTION:
        raise UserError(
            f"{path} generates {own.image_channels} channels of {own.resolution} x {own.resolution} pixels: "
            f"give a generator of RGB images of at least {LEAST_RESOLUTION} x {LEAST_RESOLUTION}."
        )
    return own.resolution


def chosen_category(
    path: Path, category: str | None, kept: EstimatedPrior | MadePack | None, prior: Prior
) -> str | None:
    """The category that is named now, else the one that was named to `gan2shape prior` (None: typed defaults), else the
    one on the card of a pack or of a copy of it.

    Raises UserError where nothing determines which views and lights to sample.
    """
    known = known_categories()
    carded = prior.card.get("category")
    if category is None and kept is None and carded not in known:
        raise UserError(
            f"No category gives the ranges of views and lights for {path}: "
            f"give the nearest --category (known: {', '.join(known)}), here or once to `gan2shape prior`."
        )
    return category or (kept.category if kept is not None else carded)


def estimate_of(path: Path, class_index: int | None = None) -> EstimatedPrior | MadePack | None:
    """What is known of a custom generator beside its file: its pack, else what `gan2shape prior` learnt; None.

    Raises UserError for damaged files.
    """
    made = find_made(path, "cpu", class_index)
    return made if made is not None else find_estimated(path, "cpu", class_index)


def read_settings(kept: EstimatedPrior | MadePack | None, category: str | None) -> tuple[str, ...]:
    """What was read off samples by the networks of that category, as `key=value`: nothing, if it was another's."""
    return kept.overrides if kept is not None and kept.category == category else ()


def source_of(category: str | None) -> str:
    """Whose ranges they are, for people."""
    return "typed defaults" if category is None else f"category {category}"


def origins(
    config: ShapeConfig,
    category: str | None,
    kept: EstimatedPrior | MadePack | None,
    overrides: tuple[str, ...],
    own: Calibration | None = None,
) -> str:
    """The ranges of pseudo samples, and where each value comes from, in a sentence; `own`: of a pack."""
    from_calibration = {} if own is None else _keys(own.settings, "its own calibration")
    measured = from_calibration | _keys(read_settings(kept, category), "read off samples")
    origin_of = measured | {key: "as given" for key in (*KEYS, *NEVER_READ) if is_overridden(key, overrides)}
    named = ("as given", "read off samples", "its own calibration", source_of(category))
    parts: dict[str, list[str]] = {origin: [] for origin in named}
    for key in (*KEYS, *NEVER_READ):
        section, _, name = key.partition(".")
        value = getattr(getattr(config, section), name)
        shown = f"{value:g}" if isinstance(value, float) else f"{value[0]:g} to {value[1]:g}"
        parts[origin_of.get(key, source_of(category))].append(f"{key} {shown}")
    return "Sampled: " + "; ".join(f"{', '.join(some)} ({origin})" for origin, some in parts.items() if some) + "."


def _keys(settings: Iterable[str], origin: str) -> dict[str, str]:
    return {setting.partition("=")[0]: origin for setting in settings}


def is_overridden(key: str, overrides: Sequence[str]) -> bool:
    """Whether the overrides name a dotted key, alone or within its section."""
    section, _, name = key.rpartition(".")
    return any(one.startswith(f"{key}=") or (one.startswith(f"{section}=") and f"{name}:" in one) for one in overrides)


def choose_metric(
    prior: Prior,
    category: str | None,
    features: Path | None,
    size: int,
    device: torch.device | str,
    is_bfloat16: bool = False,
) -> tuple[FeatureMetric, str]:
    """(what compares images, its name for people). Raises UserError where there is nothing."""
    if features is not None:
        return load_script(features, size, device), f"the TorchScript module {features.name}"
    if prior.discriminator is not None:
        return DiscriminatorMetric(prior.discriminator, None, is_bfloat16), "the checkpoint's own discriminator"
    folder = None if category is None else pack_dir(category)
    borrowed = load_pack(folder, device).discriminator if folder is not None and folder.is_dir() else None
    if borrowed is None:
        raise UserError(
            "The checkpoint has no discriminator to compare images with: name a TorchScript feature network with "
            "--features, or a --category that has a bundled pack."
        )
    own = borrowed.config.resolution
    name = f"the discriminator of the bundled {category} pack (the checkpoint has none), at {own} x {own}"
    return DiscriminatorMetric(borrowed, own, is_bfloat16), name


def _of(resolution: int, size: int) -> str:
    return "." if resolution == size else f" (the generator's own: {resolution} x {resolution})."
