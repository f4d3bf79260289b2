"""NVIDIA's TensorFlow pickles of StyleGAN2 (config A to F and ADA): networks whose variables are plain named arrays.

Each network carries source text that builds its graph; the published loader executes it. It is not needed: names,
shapes and the arguments beside them suffice.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gan2shape.checkpoints.assemble import MAPPING_LR_MULTIPLIER, STDDEV_GROUP
from gan2shape.checkpoints.contents import MAX_NAME, MAX_STEPS, NO_AVERAGE, NO_PART, Place, joined, reason_of
from gan2shape.checkpoints.errors import UnreadableError
from gan2shape.checkpoints.inert import ArrayClaim, Stub, shown
from gan2shape.checkpoints.layouts import DEFAULT, FROM_FILE, SHAPES_ONLY, Foreign, checked_group, positive
from gan2shape.checkpoints.multiplier import ORIGIN
from gan2shape.checkpoints.stored import StoredTensor
from gan2shape.checkpoints.tensorflow_names import tensorflow_discriminator, tensorflow_generator
from gan2shape.checkpoints.unpickle import TENSORFLOW_NETWORK

MAX_DEPTH = 4  # of networks in networks
MAX_NETWORKS = 100  # that are looked at; a published file has three
CRITIC_NAME = "D"
GENERATOR_PART, CRITIC_VARIABLE = "synthesis/", "Output/weight"  # that only a generator or a discriminator has


@dataclass(frozen=True, eq=False)
class Network:
    """A network where it lies in its file."""

    stub: Stub
    keys: str  # of the dictionaries around it, dotted

    @property
    def own_name(self) -> str:
        """What it was called when it was built."""
        name = self.stub.state.get("name")
        return name if isinstance(name, str) else ""

    @property
    def label(self) -> str:
        """What it is called in its file: by the dictionaries around it, and by its own name."""
        is_same = self.keys.rpartition(".")[2] == self.own_name
        return shown(self.keys if is_same else joined(self.keys, self.own_name)) or "without a name"

    @property
    def named_average(self) -> tuple[bool, bool]:
        """Whether the names around it, and its own, call its weights an average."""
        return Place(self.keys, "").is_named_average, Place(self.own_name, "").is_named_average


def tensorflow_networks(value: Any) -> list[Network]:
    """The networks in the lists and dictionaries of a TensorFlow pickle, in their order; none if it is none."""
    found, known, queue, n_steps = [], set(), deque([(value, "")]), 0
    while queue and n_steps < MAX_STEPS and len(found) < MAX_NETWORKS:
        value, keys = queue.popleft()
        n_steps += 1
        if id(value) in known or len(keys) > MAX_NAME:
            continue
        known.add(id(value))
        if isinstance(value, Stub) and value.kind.endswith(TENSORFLOW_NETWORK):
            found.append(Network(value, keys))
        elif isinstance(value, dict):
            queue.extend((part, joined(keys, str(key))) for key, part in value.items())
        elif isinstance(value, list | tuple):
            queue.extend((part, keys) for part in value)
    return found


def variables(network: Stub) -> dict[str, StoredTensor]:
    """Arrays of a network and its components, `synthesis/4x4/Conv/weight`."""
    found: dict[str, StoredTensor] = {}
    _collect(network, "", found, MAX_DEPTH, set())
    return found


def _collect(network: Stub, prefix: str, found: dict[str, StoredTensor], depth: int, known: set[int]) -> None:
    if id(network) in known:
        return
    known.add(id(network))
    own, components = network.state.get("variables"), network.state.get("components")
    for entry in own if isinstance(own, list) else ():
        if isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[0], str):
            array = entry[1].tensor if isinstance(entry[1], ArrayClaim) else entry[1]
            if isinstance(array, StoredTensor):  # TensorFlow gives variables without axes as numbers
                found[prefix + entry[0]] = array
    for name, component in components.items() if isinstance(components, dict) else ():
        if isinstance(component, Stub) and depth > 0:
            _collect(component, f"{prefix}{name}/", found, depth - 1, known)


def static_settings(network: Stub) -> Mapping[str, Any]:
    """The arguments that the network was built with."""
    kwargs = network.state.get("static_kwargs")
    return kwargs if isinstance(kwargs, dict) else {}


def read_tensorflow(networks: list[Network]) -> Foreign:
    """The generator that is called an average (Gs), else the last one: published are G, D and Gs, in this order."""
    names = {network: variables(network.stub).keys() for network in networks}
    generators = [one for one in networks if any(name.startswith(GENERATOR_PART) for name in names[one])]
    critics = [one for one in networks if CRITIC_VARIABLE in names[one]]
    taken = max(reversed(generators or networks), key=lambda one: one.named_average)
    found = _read_generator(taken.stub)
    found.taken = taken.label
    critic = max(critics, key=lambda one: one.own_name == CRITIC_NAME, default=None)
    if critic is not None:
        _add_discriminator(found, critic.stub)
        if not any(taken.named_average):
            found.notes.append(NO_AVERAGE)
    for one in networks:
        reason = reason_of(any(taken.named_average), any(one.named_average)) if one in generators else NO_PART
        if one not in (taken, critic):
            found.ignored.append(f"{one.label}: {reason}")
    return found


def _read_generator(network: Stub) -> Foreign:
    own = static_settings(network)
    require_usual(own)
    multiplier = positive(own.get("mapping_lrmul", MAPPING_LR_MULTIPLIER), "mapping multiplier")
    clamp = positive(own.get("conv_clamp"), "activation clamp")
    generator = tensorflow_generator(variables(network))
    if own.get("label_size") and "mapping.embed.weight" not in generator:
        raise UnreadableError("holds a class-conditional TensorFlow network without its classes")
    origins = {"clamp": FROM_FILE if "conv_clamp" in own else DEFAULT}
    origins[ORIGIN] = FROM_FILE if "mapping_lrmul" in own else DEFAULT
    settings = {"mapping_lr_multiplier": multiplier, "clamp": clamp}
    return Foreign("NVIDIA, TensorFlow", generator, None, settings, {}, SHAPES_ONLY, [], origins)


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
