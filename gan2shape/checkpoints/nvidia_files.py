"""Files of NVIDIA's PyTorch repositories, and state dicts with their names (which are ours)."""

from collections.abc import Mapping
from typing import Any

from gan2shape.checkpoints.assemble import MAPPING_LR_MULTIPLIER, STDDEV_GROUP, State, shape_of
from gan2shape.checkpoints.contents import INIT_KWARGS, Contents, Place, part, without_filters
from gan2shape.checkpoints.errors import UnreadableError
from gan2shape.checkpoints.layouts import ASSUMED, DEFAULT, FROM_FILE, GOLDEN, Foreign, checked_group, positive
from gan2shape.checkpoints.multiplier import ORIGIN, estimated_multiplier

NVIDIA_GENERATOR, NVIDIA_DISCRIMINATOR = "synthesis.b4.const", "b4.out.weight"
NVIDIA_PARTS = ("synthesis.", "mapping.")


def read_nvidia(contents: Contents, place: Place, critic: Place | None, container: str) -> Foreign:
    """A network in NVIDIA's PyTorch names: pickled with its constructor's arguments, or a state dict without them."""
    prefix = place.prefix
    notes: list[str] = []
    state = part(contents.tensors, prefix)
    if not prefix:
        state = {name: tensor for name, tensor in state.items() if name.startswith(NVIDIA_PARTS)}
    state = without_filters(state)
    plain = contents.plain
    kwargs = _kwargs(plain, prefix)
    require_usual(kwargs)
    origins: dict[str, str] = {}
    of_layer = plain.get(f"{prefix}synthesis.b4.conv1.conv_clamp")
    clamp = _setting([_within(kwargs, "synthesis_kwargs"), kwargs], "conv_clamp", of_layer)
    of_layer = plain.get(f"{prefix}mapping.fc0.bias_gain")
    multiplier = _setting([_within(kwargs, "mapping_kwargs")], "lr_multiplier", of_layer)
    origins["clamp"] = DEFAULT if clamp is None else FROM_FILE
    origins[ORIGIN] = DEFAULT if multiplier is None else FROM_FILE
    tested = GOLDEN
    if multiplier is None and not kwargs:
        multiplier, origins[ORIGIN] = estimated_multiplier(state)
        tested = ASSUMED if origins[ORIGIN].startswith("assumed") else GOLDEN
    settings = {
        "clamp": positive(clamp, "activation clamp"),
        "mapping_lr_multiplier": positive(multiplier, "mapping multiplier") or MAPPING_LR_MULTIPLIER,
    }
    note_left_out_classes(state, kwargs, notes)
    discriminator, critic_settings = None, {}
    if critic is not None:
        discriminator, critic_settings = _discriminator(contents, critic, notes, origins)
    is_pickle = container == "pickle"
    kind = "NVIDIA (stylegan2-ada-pytorch or stylegan3 repository)" if is_pickle else "NVIDIA's names, as a state dict"
    return Foreign(
        kind, state, discriminator, settings, critic_settings, tested, notes, origins, names_used=NVIDIA_PARTS
    )


def note_left_out_classes(state: State, kwargs: Mapping[str, Any], notes: list[str]) -> None:
    """A conditional network needs its embedding; one that takes as many numbers as z and an embedding may have lost it.

    Raises UnreadableError where the constructor's arguments name classes.
    """
    if "mapping.embed.weight" in state:
        return
    w_dim, z_dim = shape_of(state, "mapping.fc0.weight", 2)
    if kwargs.get("c_dim"):
        raise UnreadableError("holds a class-conditional network whose class embedding was left out")
    if z_dim == 2 * w_dim and "z_dim" not in kwargs:
        notes.append(
            f"The mapping network takes {z_dim} numbers, twice as many as w has: if the network had classes, their "
            "embedding was left out, and its images are of no class."
        )


def _discriminator(
    contents: Contents, critic: Place, notes: list[str], origins: dict[str, str]
) -> tuple[State | None, dict[str, Any]]:
    """The discriminator, or none (and a note) where it is one that we do not have."""
    try:
        if critic.tail != NVIDIA_DISCRIMINATOR:
            raise UnreadableError("is of another layout than the generator")
        return _nvidia_discriminator(contents, critic.prefix, origins)
    except UnreadableError as error:
        notes.append(f"The discriminator {error}; it is left out.")
        return None, {}


def _nvidia_discriminator(contents: Contents, prefix: str, origins: dict[str, str]) -> tuple[State, dict[str, Any]]:
    """State and settings. Raises UnreadableError for architectures that we do not have."""
    state = without_filters(part(contents.tensors, prefix))
    kwargs = _kwargs(contents.plain, prefix)
    require_usual(kwargs)
    if sum(name.endswith("fromrgb.weight") for name in state) > 1:
        raise UnreadableError("has the skip architecture, which is not supported")
    epilogue = _within(kwargs, "epilogue_kwargs")
    if _setting([epilogue], "mbstd_num_channels", None) not in (None, 1):
        raise UnreadableError("has an unusual number of minibatch channels")
    clamp = _setting([kwargs], "conv_clamp", contents.plain.get(f"{prefix}b4.conv.conv_clamp"))
    known = "mbstd_group_size" in epilogue or f"{prefix}b4.mbstd.group_size" in contents.plain
    group = epilogue.get("mbstd_group_size", contents.plain.get(f"{prefix}b4.mbstd.group_size"))
    origins["minibatch group"] = FROM_FILE if known else DEFAULT
    group = checked_group(group if known else STDDEV_GROUP)
    return state, {"clamp": positive(clamp, "activation clamp"), "stddev_group": group}


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
