"""Somebody else's networks under our names, with what shapes do not tell: clamp, minibatch group, mapping gain."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from gan2shape.checkpoints.assemble import (
    MAPPING_LR_MULTIPLIER,
    STDDEV_GROUP,
    WHOLE_BATCH,
    State,
    is_positive,
)
from gan2shape.checkpoints.names import (
    INIT_KWARGS,
    Contents,
    find_network,
    flatten,
    foreign_kind,
    part,
    rosinality_discriminator,
    rosinality_generator,
    without_filters,
)
from gan2shape.checkpoints.pickle_machine import UnreadableError
from gan2shape.checkpoints.stored import StoredTensor
from gan2shape.checkpoints.tensorflow_names import (
    static_settings,
    tensorflow_discriminator,
    tensorflow_generator,
    tensorflow_networks,
    variables,
)
from gan2shape.checkpoints.unpickle import Stub

NVIDIA_GENERATOR, ROSINALITY_GENERATOR = "synthesis.b4.const", "input.input"
NVIDIA_DISCRIMINATOR, ROSINALITY_DISCRIMINATOR = "b4.out.weight", "final_linear.1.weight"
GENERATOR_NAMES = ("G_ema", "g_ema", "generator_ema", "ema", "decoder", "generator", "G", "g")
DISCRIMINATOR_NAMES = ("D", "d", "discriminator")
DEFAULT, FROM_FILE = "published default", "from the file"


@dataclass(frozen=True)
class Foreign:
    """A generator, perhaps a discriminator, under our names."""

    kind: str  # who wrote it, in words
    generator: State
    discriminator: State | None
    generator_settings: Mapping[str, Any]
    discriminator_settings: Mapping[str, Any]
    has_golden_numbers: bool  # this kind of file was compared with the published code
    notes: list[str] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)


def read_foreign(container: str, value: Any) -> Foreign:
    """The networks in a file's value. Raises UnreadableError, by name where it can, for what is no StyleGAN2."""
    if networks := tensorflow_networks(value):
        return _tensorflow(networks)
    contents = flatten(value)
    found = find_network(contents, (NVIDIA_GENERATOR, ROSINALITY_GENERATOR), GENERATOR_NAMES)
    if found is None:
        kind = foreign_kind(contents)
        if kind is not None:
            raise UnreadableError(f"holds {kind}, which is not supported")
        raise UnreadableError("holds no StyleGAN2 generator")
    prefix, tail = found
    critic = find_network(contents, (NVIDIA_DISCRIMINATOR, ROSINALITY_DISCRIMINATOR), DISCRIMINATOR_NAMES)
    if tail == ROSINALITY_GENERATOR:
        return _rosinality(contents, prefix, critic)
    return _nvidia(contents, prefix, critic, container)


def _rosinality(contents: Contents, prefix: str, critic: tuple[str, str] | None) -> Foreign:
    notes: list[str] = []
    state = part(contents.tensors, prefix)
    if not prefix:  # a bare state dict: what is beside the generator does not belong to it
        state = {name: tensor for name, tensor in state.items() if name.startswith(ROSINALITY_PARTS)}
    without_filters(state)
    generator: dict[str, Any] = rosinality_generator(state)
    average = state.get("latent_avg") or contents.tensors.get("latent_avg")
    if average is not None:
        generator["mapping.w_avg"] = _mean_row(average)
    if not any(name.endswith("noise_const") for name in generator):
        notes.append("The file has no noise maps; constant noise is zero.")
        generator |= _zero_noise(generator)
    discriminator = None
    if critic is not None and critic[1] == ROSINALITY_DISCRIMINATOR:
        found = part(contents.tensors, critic[0])
        without_filters(found)
        discriminator = rosinality_discriminator(found)
    settings = {"mapping_lr_multiplier": MAPPING_LR_MULTIPLIER}
    origins = {"clamp, minibatch group, mapping multiplier": DEFAULT}
    kind = "rosinality/stylegan2-pytorch"
    critic_settings = {"stddev_group": STDDEV_GROUP}
    return Foreign(kind, generator, discriminator, settings, critic_settings, True, notes, origins)


ROSINALITY_PARTS = ("style.", "input.", "conv1.", "to_rgb1.", "convs.", "to_rgbs.", "noises.")


def _mean_row(average: StoredTensor) -> Any:
    """latent_avg as one row (some files repeat it for each layer)."""
    return average.read().float().mean(dim=0) if len(average.shape) == 2 else average


def _zero_noise(generator: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Maps of zeros beside every noise strength."""
    names = [name.removesuffix("noise_strength") for name in generator if name.endswith("noise_strength")]
    sides = {name: int(name.split(".")[1][1:]) for name in names}
    return {f"{name}noise_const": torch.zeros(side, side) for name, side in sides.items()}


def _nvidia(contents: Contents, prefix: str, critic: tuple[str, str] | None, container: str) -> Foreign:
    notes: list[str] = []
    state = part(contents.tensors, prefix)
    if not prefix:
        state = {name: tensor for name, tensor in state.items() if name.startswith(("synthesis.", "mapping."))}
    plain = contents.plain
    kwargs = _kwargs(plain, prefix)
    require_usual(kwargs)
    origins: dict[str, str] = {}
    of_layer = plain.get(f"{prefix}synthesis.b4.conv1.conv_clamp")
    clamp = _setting([_within(kwargs, "synthesis_kwargs"), kwargs], "conv_clamp", of_layer)
    of_layer = plain.get(f"{prefix}mapping.fc0.bias_gain")
    multiplier = _setting([_within(kwargs, "mapping_kwargs")], "lr_multiplier", of_layer)
    origins["clamp"] = DEFAULT if clamp is None else FROM_FILE
    origins["mapping multiplier"] = DEFAULT if multiplier is None else FROM_FILE
    settings = {
        "clamp": _positive(clamp, "activation clamp"),
        "mapping_lr_multiplier": _positive(multiplier, "mapping multiplier") or MAPPING_LR_MULTIPLIER,
    }
    discriminator, critic_settings = None, {}
    if critic is not None and critic[1] == NVIDIA_DISCRIMINATOR:
        discriminator, critic_settings = _nvidia_discriminator(contents, critic[0], notes, origins)
    is_pickle = container == "pickle"
    kind = "NVIDIA (stylegan2-ada-pytorch or stylegan3 repository)" if is_pickle else "NVIDIA's names, as a state dict"
    if "G_ema" not in prefix and any(name.startswith("G.") for name in contents.tensors):
        notes.append("The file has no averaged generator; the one being trained is used.")
    return Foreign(kind, without_filters(state), discriminator, settings, critic_settings, True, notes, origins)


def _nvidia_discriminator(
    contents: Contents, prefix: str, notes: list[str], origins: dict[str, str]
) -> tuple[State | None, dict[str, Any]]:
    """The discriminator, or none (and a note) where its architecture is one that we do not have."""
    state = without_filters(part(contents.tensors, prefix))
    kwargs = _kwargs(contents.plain, prefix)
    require_usual(kwargs)
    if sum(name.endswith("fromrgb.weight") for name in state) > 1:
        notes.append("The discriminator has the skip architecture, which is not supported; it is left out.")
        return None, {}
    epilogue = _within(kwargs, "epilogue_kwargs")
    if _setting([epilogue], "mbstd_num_channels", None) not in (None, 1):
        notes.append("The discriminator has an unusual number of minibatch channels; it is left out.")
        return None, {}
    clamp = _setting([kwargs], "conv_clamp", contents.plain.get(f"{prefix}b4.conv.conv_clamp"))
    known = "mbstd_group_size" in epilogue or f"{prefix}b4.mbstd.group_size" in contents.plain
    group = epilogue.get("mbstd_group_size", contents.plain.get(f"{prefix}b4.mbstd.group_size"))
    origins["minibatch group"] = FROM_FILE if known else DEFAULT
    if not known:
        group = STDDEV_GROUP
    group = WHOLE_BATCH if group is None else group
    if type(group) is not int or not 0 < group <= WHOLE_BATCH:
        raise UnreadableError("has a minibatch group of impossible size")
    return state, {"clamp": _positive(clamp, "activation clamp"), "stddev_group": group}


def _tensorflow(networks: list[Stub]) -> Foreign:
    """The averaged generator comes last; with three networks the discriminator is the second."""
    own = static_settings(networks[-1])
    kernel = own.get("resample_kernel", [1, 3, 3, 1])
    if own.get("nonlinearity", "lrelu") != "lrelu" or kernel != [1, 3, 3, 1]:
        raise UnreadableError("holds a TensorFlow network of an unusual kind, which is not supported")
    multiplier = _positive(own.get("mapping_lrmul", MAPPING_LR_MULTIPLIER), "mapping multiplier")
    generator = tensorflow_generator(variables(networks[-1]))
    discriminator, critic_settings = None, {}
    origins = {"clamp": DEFAULT, "mapping multiplier": FROM_FILE if "mapping_lrmul" in own else DEFAULT}
    if len(networks) == 3:
        discriminator = tensorflow_discriminator(variables(networks[1]))
        group = static_settings(networks[1]).get("mbstd_group_size", STDDEV_GROUP)
        if type(group) is not int or not 0 < group <= WHOLE_BATCH:
            raise UnreadableError("has a minibatch group of impossible size")
        critic_settings = {"stddev_group": group}
        origins["minibatch group"] = FROM_FILE if "mbstd_group_size" in static_settings(networks[1]) else DEFAULT
    settings = {"mapping_lr_multiplier": multiplier}
    kind = "NVIDIA, TensorFlow"
    return Foreign(kind, generator, discriminator, settings, critic_settings, False, [], origins)


def require_usual(kwargs: Mapping[str, Any]) -> None:
    """Raises UnreadableError for constructor arguments that change the network in a way that names do not show."""
    parts = [kwargs, *(value for value in kwargs.values() if isinstance(value, dict))]
    parts += [value for outer in parts[1:] for value in outer.values() if isinstance(value, dict)]
    for values in parts:
        if values.get("activation", "lrelu") != "lrelu":
            raise UnreadableError("uses another activation than the leaky ReLU, which is not supported")


def _kwargs(plain: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    kwargs = plain.get(f"{prefix}{INIT_KWARGS}")
    return kwargs if isinstance(kwargs, dict) else {}


def _within(kwargs: Mapping[str, Any], name: str) -> dict[str, Any]:
    inner = kwargs.get(name)
    return inner if isinstance(inner, dict) else {}


def _setting(places: list[dict[str, Any]], name: str, otherwise: Any) -> Any:
    """The constructor's argument if it was given, else the layer's own attribute."""
    return next((place[name] for place in places if name in place), otherwise)


def _positive(value: Any, what: str) -> float | None:
    if value is not None and not is_positive(value):
        raise UnreadableError(f"has an impossible {what}")
    return None if value is None else float(value)
