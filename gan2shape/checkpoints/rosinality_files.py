"""Files of rosinality's PyTorch implementation and of those that keep its numbers under other names.

Inversion networks (pSp, e4e, ReStyle) keep such a generator as `decoder`, DualStyleGAN as `generator`.
"""

from collections.abc import Mapping
from typing import Any

import torch

from gan2shape.checkpoints.assemble import STDDEV_GROUP, shape_of
from gan2shape.checkpoints.contents import Contents, Place, beside, part, without_filters
from gan2shape.checkpoints.errors import UnreadableError
from gan2shape.checkpoints.layouts import ASSUMED, DEFAULT, GOLDEN, Foreign
from gan2shape.checkpoints.multiplier import ORIGIN, estimated_multiplier
from gan2shape.checkpoints.publishers_names import BASICSR, MMGENERATION, genforce_generator, renamed
from gan2shape.checkpoints.rosinality_names import rosinality_discriminator, rosinality_generator
from gan2shape.checkpoints.stored import StoredTensor

ROSINALITY_GENERATOR, ROSINALITY_DISCRIMINATOR = "input.input", "final_linear.1.weight"
BASICSR_GENERATOR, MMGENERATION_GENERATOR = "constant_input.weight", "constant_input.input"
GENFORCE_GENERATOR = "synthesis.early_layer.const"
ROSINALITY_PARTS = ("style.", "input.", "conv1.", "to_rgb1.", "convs.", "to_rgbs.", "noises.", "latent_avg")
BASICSR_PARTS = ("style_mlp.", "constant_input.", "style_conv1.", "style_convs.", "to_rgb1.", "to_rgbs.", "noises.")
MMGENERATION_PARTS = (
    "style_mapping.",
    "constant_input.",
    "conv1.",
    "convs.",
    "to_rgb1.",
    "to_rgbs.",
    "injected_noise_",
)
GENFORCE_PARTS = ("mapping.", "truncation.", "synthesis.")
DUAL_STYLE = "res."  # DualStyleGAN's second path


def read_rosinality(contents: Contents, place: Place, critic: Place | None, _: str) -> Foreign:
    """rosinality/stylegan2-pytorch, and files that hold such a generator under a prefix."""
    state = own_part(contents, place, ROSINALITY_PARTS)
    without_filters(state)
    found = _of_rosinality(contents, place, rosinality_generator(state), critic, "rosinality/stylegan2-pytorch")
    outer = place.prefix.removesuffix("generator.")
    if outer != place.prefix and any(name.startswith(outer + DUAL_STYLE) for name in contents.tensors):
        found.kind = "DualStyleGAN"
        found.notes.append("Only the intrinsic path is read: images are those of the StyleGAN2 in it, without a style.")
    return found


def read_basicsr(contents: Contents, place: Place, critic: Place | None, _: str) -> Foreign:
    """BasicSR's generator, alone or in GFPGAN."""
    state = own_part(contents, place, BASICSR_PARTS)
    generator = rosinality_generator(renamed(state, BASICSR))
    found = _of_rosinality(contents, place, generator, critic, "BasicSR (or GFPGAN)")
    found.notes.append("Images are wrong if this is BasicSR's bilinear variant, whose weights have the same names.")
    return found


def read_mmgeneration(contents: Contents, place: Place, critic: Place | None, _: str) -> Foreign:
    """mmgeneration's generator."""
    state = own_part(contents, place, MMGENERATION_PARTS)
    without_filters(state)
    generator = rosinality_generator(renamed(state, MMGENERATION))
    found = _of_rosinality(contents, place, generator, critic, "mmgeneration")
    found.notes.append("Networks that mmgeneration trained itself may generate BGR; the file does not state it.")
    return found


def read_genforce(contents: Contents, place: Place, critic: Place | None, _: str) -> Foreign:
    """genforce's generator."""
    state = own_part(contents, place, GENFORCE_PARTS)
    without_filters(state)
    generator: dict[str, Any] = genforce_generator(state)
    notes = _without_critic(critic, "")
    multiplier, origin = estimated_multiplier(generator)
    origins = {"clamp": DEFAULT, ORIGIN: origin}
    settings = {"mapping_lr_multiplier": multiplier}
    tested = ASSUMED if origin.startswith("assumed") else GOLDEN
    return Foreign("genforce", generator, None, settings, {}, tested, notes, origins, names_used=GENFORCE_PARTS)


def own_part(contents: Contents, place: Place, parts: tuple[str, ...]) -> dict[str, StoredTensor]:
    """Tensors of the generator. Of a bare state dict, what is beside the generator does not belong to it."""
    state = part(contents.tensors, place.prefix)
    return state if place.prefix else {name: tensor for name, tensor in state.items() if name.startswith(parts)}


def _of_rosinality(
    contents: Contents, place: Place, generator: dict[str, Any], critic: Place | None, kind: str
) -> Foreign:
    """What is beside the generator in rosinality's layout: mean of w, noise, discriminator."""
    require_own_width(generator)
    average = beside(contents, place.prefix, "latent_avg")
    if average is not None:
        generator["mapping.w_avg"] = _mean_row(average)
    notes = _without_critic(critic, ROSINALITY_DISCRIMINATOR)
    if not any(name.endswith("noise_const") for name in generator):
        notes.append("The file has no noise maps; constant noise is zero.")
        generator |= _zero_noise(generator)
    discriminator = None
    if critic is not None and critic.tail == ROSINALITY_DISCRIMINATOR:
        discriminator = _discriminator(contents, critic, notes)
    multiplier, origin = estimated_multiplier(generator)
    settings, origins = {"mapping_lr_multiplier": multiplier}, {"clamp, minibatch group": DEFAULT, ORIGIN: origin}
    tested = ASSUMED if origin.startswith("assumed") else GOLDEN
    critic_settings = {"stddev_group": STDDEV_GROUP}
    parts = (*ROSINALITY_PARTS, *BASICSR_PARTS, *MMGENERATION_PARTS)
    return Foreign(kind, generator, discriminator, settings, critic_settings, tested, notes, origins, names_used=parts)


def require_own_width(generator: Mapping[str, Any]) -> None:
    """Raises UnreadableError for a mapping network that takes more numbers than z has: z and w are as long as each
    other in these layouts, and what goes beyond is a class's embedding.
    """
    w_dim, z_dim = shape_of(generator, "mapping.fc0.weight", 2)
    if z_dim > w_dim:
        raise UnreadableError(
            f"has a mapping network of {z_dim} inputs for a w of {w_dim}: that of a class-conditional network whose "
            "class embedding was left out",
            "export it with a class put in (`gan2shape convert --class N` does that to the original file)",
        )


def _discriminator(contents: Contents, critic: Place, notes: list[str]) -> dict[str, StoredTensor] | None:
    """The discriminator under our names, or none and a note."""
    try:
        found = part(contents.tensors, critic.prefix)
        without_filters(found)
        return rosinality_discriminator(found)
    except UnreadableError as error:
        notes.append(f"The discriminator {error}; it is left out.")
        return None


def _without_critic(critic: Place | None, tail: str) -> list[str]:
    """A note where there is a discriminator of another layout."""
    is_other = critic is not None and critic.tail != tail
    return ["The discriminator is of another layout than the generator; it is left out."] if is_other else []


def _mean_row(average: StoredTensor) -> Any:
    """latent_avg as one row (some files repeat it for each layer)."""
    return average.read().float().mean(dim=0) if len(average.shape) == 2 else average


def _zero_noise(generator: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Maps of zeros beside every noise strength."""
    names = [name.removesuffix("noise_strength") for name in generator if name.endswith("noise_strength")]
    sizes = {name: int(name.split(".")[1][1:]) for name in names}
    return {f"{name}noise_const": torch.zeros(size, size) for name, size in sizes.items()}
