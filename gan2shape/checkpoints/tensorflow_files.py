"""NVIDIA's TensorFlow pickles of StyleGAN2 (config A to F and ADA): networks whose variables are plain named arrays.

Each network carries source text that builds its graph; the published loader executes it. It is not needed: names,
shapes and the arguments beside them suffice.
"""

from collections.abc import Mapping
from typing import Any

from gan2shape.checkpoints.assemble import MAPPING_LR_MULTIPLIER, STDDEV_GROUP
from gan2shape.checkpoints.contents import TRAINED
from gan2shape.checkpoints.errors import UnreadableError
from gan2shape.checkpoints.inert import ArrayClaim, Stub, shown
from gan2shape.checkpoints.layouts import DEFAULT, FROM_FILE, SHAPES_ONLY, Foreign, checked_group, positive
from gan2shape.checkpoints.multiplier import ORIGIN
from gan2shape.checkpoints.stored import StoredTensor
from gan2shape.checkpoints.tensorflow_names import tensorflow_discriminator, tensorflow_generator
from gan2shape.checkpoints.unpickle import TENSORFLOW_NETWORK

MAX_DEPTH = 4  # of networks in networks


def tensorflow_networks(value: Any) -> list[Stub]:
    """The networks of a TensorFlow pickle, none if it is none."""
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    return [member for member in members if isinstance(member, Stub) and member.kind.endswith(TENSORFLOW_NETWORK)]


def variables(network: Stub) -> dict[str, StoredTensor]:
    """Arrays of a network and its components, `synthesis/4x4/Conv/weight`."""
    found: dict[str, StoredTensor] = {}
    _collect(network, "", found, MAX_DEPTH)
    return found


def _collect(network: Stub, prefix: str, found: dict[str, StoredTensor], depth: int) -> None:
    own, components = network.state.get("variables"), network.state.get("components")
    for entry in own if isinstance(own, list) else ():
        if isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[0], str):
            array = entry[1].tensor if isinstance(entry[1], ArrayClaim) else entry[1]
            if isinstance(array, StoredTensor):  # TensorFlow gives variables without axes as numbers
                found[prefix + entry[0]] = array
    for name, component in components.items() if isinstance(components, dict) else ():
        if isinstance(component, Stub) and depth > 0:
            _collect(component, f"{prefix}{name}/", found, depth - 1)


def static_settings(network: Stub) -> Mapping[str, Any]:
    """The arguments that the network was built with."""
    kwargs = network.state.get("static_kwargs")
    return kwargs if isinstance(kwargs, dict) else {}


def read_tensorflow(networks: list[Stub]) -> Foreign:
    """The averaged generator comes last; with three networks the discriminator is the second."""
    taken = networks[-1]
    own = static_settings(taken)
    require_usual(own)
    multiplier = positive(own.get("mapping_lrmul", MAPPING_LR_MULTIPLIER), "mapping multiplier")
    clamp = positive(own.get("conv_clamp"), "activation clamp")
    generator = tensorflow_generator(variables(taken))
    if own.get("label_size") and "mapping.embed.weight" not in generator:
        raise UnreadableError("holds a class-conditional TensorFlow network without its classes")
    origins = {"clamp": FROM_FILE if "conv_clamp" in own else DEFAULT}
    origins[ORIGIN] = FROM_FILE if "mapping_lrmul" in own else DEFAULT
    settings = {"mapping_lr_multiplier": multiplier, "clamp": clamp}
    found = Foreign("NVIDIA, TensorFlow", generator, None, settings, {}, SHAPES_ONLY, [], origins)
    if len(networks) == 3:
        _add_discriminator(found, networks[1])
    found.taken = named(taken)
    others = [network for network in networks[:-1] if len(networks) < 3 or network is not networks[1]]
    found.ignored = [f"{named(network)}: {TRAINED}" for network in others]
    return found


def named(network: Stub) -> str:
    """What a network is called in its file."""
    name = network.state.get("name")
    return shown(name) if isinstance(name, str) else "without a name"


def require_usual(own: Mapping[str, Any]) -> None:
    """Raises UnreadableError for arguments that change the network in a way that names do not show."""
    kernel = own.get("resample_kernel")
    usual = {"nonlinearity": "lrelu", "normalize_latents": True, "normalize_z": True, "demodulate": True}
    has_usual = all(own.get(name, value) == value for name, value in usual.items())
    if not has_usual or kernel not in (None, [1, 3, 3, 1], (1, 3, 3, 1)):
        raise UnreadableError("holds a TensorFlow network of an unusual kind, which is not supported")


def _add_discriminator(found: Foreign, network: Stub) -> None:
    """The discriminator, or a note where it is of another kind."""
    own = static_settings(network)
    try:
        state = tensorflow_discriminator(variables(network))
        settings = {"clamp": positive(own.get("conv_clamp"), "activation clamp")}
        settings["stddev_group"] = checked_group(own.get("mbstd_group_size", STDDEV_GROUP))
    except UnreadableError as error:
        found.notes.append(f"The discriminator {error}; it is left out.")
        return
    found.discriminator, found.discriminator_settings = state, settings
    found.origins["minibatch group"] = FROM_FILE if "mbstd_group_size" in own else DEFAULT
