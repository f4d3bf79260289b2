"""Networks from named tensors: the configuration read off names and shapes, the weights checked and put in.

Networks are built without memory first and every shape is compared; only then the numbers are read, once each.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from gan2shape.checkpoints.errors import UnreadableError
from gan2shape.checkpoints.inert import shown
from gan2shape.checkpoints.stored import StoredTensor
from gan2shape.nn.discriminator import LOGIT_NAME, PROJECTION_NAME, DiscriminatorConfig, critic_of_class
from gan2shape.nn.generator import EMBEDDING_NAME, GeneratorConfig, state_of_class
from gan2shape.nn.layers import fir_kernel, normalize_second_moment

State = Mapping[str, StoredTensor | Tensor]

MAX_RESOLUTION = 4096
MAX_MAPPING_LAYERS = 64
IMAGE_CHANNELS = 3
MAPPING_LR_MULTIPLIER = 0.01  # published default
STDDEV_GROUP = 4  # published default
WHOLE_BATCH = 2**16  # group size of "all samples of the batch"


@dataclass
class ByteAllowance:
    """Stored bytes that may still be read: a file's weights are not larger than the file."""

    left: int

    def spend(self, n_bytes: int) -> None:
        self.left -= n_bytes
        if self.left < 0:
            raise UnreadableError("uses the same numbers for many weights, which no checkpoint does")


def generator_config(state: State, settings: Mapping[str, Any]) -> GeneratorConfig:
    """Sizes and architecture of a generator with our names; `settings` are what shapes do not determine."""
    resolutions = resolutions_of(state, r"synthesis\.b(\d+)\.")
    widths = [shape_of(state, "synthesis.b4.const", 3)[0]]
    widths += [shape_of(state, f"synthesis.b{resolution}.conv0.weight", 4)[0] for resolution in resolutions[1:]]
    n_mapping = 1 + max((int(m[1]) for name in state if (m := re.match(r"mapping\.fc(\d\d?)\.", name))), default=-1)
    if n_mapping == 0:
        raise UnreadableError("has no mapping network")
    w_dim, z_dim = mapping_sizes(state, n_mapping)
    channels = shape_of(state, f"synthesis.b{resolutions[-1]}.torgb.weight", 4)[0]
    if channels != IMAGE_CHANNELS:
        raise UnreadableError(f"generates images of {channels} channels, and only RGB is supported")
    architecture = "orig"
    if "synthesis.b8.skip.weight" in state:
        architecture = "resnet"
    elif "synthesis.b4.torgb.weight" in state:
        architecture = "skip"
    return GeneratorConfig(
        resolution=resolutions[-1],
        channels=tuple(widths),
        z_dim=z_dim,
        w_dim=w_dim,
        n_mapping=n_mapping,
        architecture=architecture,
        resample="fir",
        noise="synthesis.b4.conv1.noise_strength" in state,
        **settings,
    )


def mapping_sizes(state: State, n_mapping: int) -> tuple[int, int]:
    """Sizes of w and z. Raises UnreadableError for hidden layers of another width than w."""
    widths = [shape_of(state, f"mapping.fc{i}.weight", 2)[0] for i in range(n_mapping)]
    other = next((width for width in widths if width != widths[-1]), None)
    if other is not None:
        raise UnreadableError(
            f"has a mapping network whose hidden layers have {other} numbers and whose w has {widths[-1]}, "
            "which is not supported"
        )
    return widths[-1], shape_of(state, "mapping.fc0.weight", 2)[1]


def discriminator_config(state: State, settings: Mapping[str, Any]) -> DiscriminatorConfig:
    """The same for a discriminator."""
    resolutions = resolutions_of(state, r"b(\d+)\.")
    widths = [shape_of(state, "b4.conv.weight", 4)[0]]
    widths += [shape_of(state, f"b{resolution}.conv0.weight", 4)[0] for resolution in resolutions[1:]]
    return DiscriminatorConfig(
        resolution=resolutions[-1],
        channels=tuple(widths),
        architecture="resnet" if f"b{resolutions[-1]}.skip.weight" in state else "orig",
        resample="fir",
        unshuffle=False,
        **settings,
    )


def resolutions_of(state: State, pattern: str) -> list[int]:
    """Resolutions of the blocks. Raises UnreadableError unless they are 4, 8, 16, ..."""
    resolutions = sorted({int(m[1][:6]) for name in state if (m := re.match(pattern, name))})
    if (
        len(resolutions) < 2
        or resolutions != [4 * 2**i for i in range(len(resolutions))]
        or resolutions[-1] > MAX_RESOLUTION
    ):
        raise UnreadableError("lacks blocks of a StyleGAN2 network")
    return resolutions


def shape_of(state: State, name: str, n_axes: int) -> tuple[int, ...]:
    """Shape of a weight that must be there."""
    if name not in state or len(state[name].shape) != n_axes:
        raise UnreadableError(f"lacks {name} or has it in a wrong shape")
    return tuple(state[name].shape)


def config_from_json(kind: type, text: str | None) -> Any:
    """A configuration from JSON. Raises UnreadableError for unknown fields, wrong types and absurd sizes."""
    try:
        values = json.loads(text or "")
        known = {spec.name: spec.default for spec in fields(kind)}
        if not isinstance(values, dict) or not set(values) <= set(known):
            raise ValueError("fields")
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        for name, value in values.items():
            if name == "clamp":
                if value is not None and not is_positive(value):
                    raise ValueError(name)
            elif (
                (type(value) is not type(known[name]) and not (isinstance(known[name], float) and is_positive(value)))
                or (isinstance(value, tuple) and not all(type(width) is int and 0 < width < 2**20 for width in value))
                or (type(value) is int and not int(name != "n_classes") <= value < 2**20)  # no classes: 0
            ):
                raise ValueError(name)
        if values.get("n_mapping", 1) > MAX_MAPPING_LAYERS or values["resolution"] > MAX_RESOLUTION:
            raise ValueError("size")
        return kind(**values)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise UnreadableError("describes its networks in a way that this version does not know") from error


def is_positive(value: Any) -> bool:
    """A finite number above zero."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def build(kind: type[nn.Module], config: Any, state: State, allowance: ByteAllowance) -> nn.Module:
    """The network with its weights in float32, on the CPU. Raises UnreadableError where names, shapes or numbers are
    wrong.
    """
    network = empty_network(kind, config)
    check_shapes(network, state)
    values = {}
    for name in network.state_dict():
        tensor = state[name]
        if isinstance(tensor, StoredTensor):
            allowance.spend(tensor.n_bytes)
            tensor = tensor.read()
        is_image = tensor.ndim == 4  # one memory format from the start: converting afterwards leaves holes behind
        values[name] = tensor.float().contiguous(
            memory_format=torch.channels_last if is_image else torch.contiguous_format
        )
        if tensor.numel() and not all(map(torch.isfinite, values[name].aminmax())):
            raise UnreadableError(f"holds numbers that are not finite, in {name}")
    network.load_state_dict(values, assign=True)
    for module in network.modules():  # constant filters are no weights: they are still without memory
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(module, name, fir_kernel())
    return network


def empty_network(kind: type[nn.Module], config: Any) -> nn.Module:
    """The network without memory for its weights."""
    try:
        with torch.device("meta"):
            return kind(config)
    except (RuntimeError, ValueError, OverflowError) as error:
        raise UnreadableError("describes networks of impossible size") from error


def check_shapes(network: nn.Module, state: State) -> None:
    """Raises UnreadableError unless `state` has exactly the names and shapes of `network`."""
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            raise UnreadableError(f"lacks the weight {name}")
        if tuple(state[name].shape) != tuple(tensor.shape):
            sizes = " x ".join(map(str, state[name].shape)) or "one number"
            raise UnreadableError(f"has {name} in a wrong shape ({sizes})")
    for name in state:
        if name not in wanted:
            raise UnreadableError(f"has a weight {shown(name)} that no StyleGAN2 has")


def generator_of_class(state: State, class_index: int) -> tuple[dict[str, StoredTensor | Tensor], int]:
    """A class-conditional generator with the class put into its first mapping layer, and the number of classes.

    The label's embedding e enters that layer beside z: W [z, e] + b = W_z z + (W_e e + b). With the label fixed the
    bracket is a bias, so the result is an ordinary generator of that class (exactly; the equalised gains are carried
    over).
    """
    if "mapping.embed.weight" not in state:
        return dict(state), 0
    names = ("mapping.embed.weight", "mapping.embed.bias", "mapping.fc0.weight", "mapping.fc0.bias")
    n_axes = (2, 1, 2, 1)
    shapes = [shape_of(state, name, n) for name, n in zip(names, n_axes, strict=True)]
    (n_embedding, n_classes), z_dim = shapes[0], shapes[2][1] - shapes[0][0]
    if shapes[1] != (n_embedding,) or shapes[3] != (shapes[2][0],) or z_dim < 1:
        raise UnreadableError("has a class embedding in a wrong shape")
    require_class(class_index, n_classes)
    weight, bias, first, offset = (read(state[name]) for name in names)
    embedding = label_embedding(weight, bias, class_index)
    # Stored weights are used times lr / sqrt(fan_in) and biases times lr: lr drops out.
    fan_in = first.shape[1]
    fixed = dict(state)
    del fixed["mapping.embed.weight"], fixed["mapping.embed.bias"]
    fixed["mapping.fc0.weight"] = first[:, :z_dim] * math.sqrt(z_dim / fan_in)
    fixed["mapping.fc0.bias"] = offset + first[:, z_dim:] @ embedding / math.sqrt(fan_in)
    return fixed, n_classes


def own_of_class(
    generator: State, critic: State | None, config: GeneratorConfig, class_index: int
) -> tuple[dict[str, StoredTensor | Tensor], dict[str, StoredTensor | Tensor] | None]:
    """Generator and discriminator of our own class-conditional pack with one class put in. The mean of w is that of all
    classes: it is left out, and measured.
    """
    require_class(class_index, config.n_classes)
    names = ("mapping.fc0.bias", EMBEDDING_NAME)
    if shape_of(generator, EMBEDDING_NAME, 2) != (config.n_classes, *shape_of(generator, names[0], 1)):
        raise UnreadableError("has a class embedding in a wrong shape")
    bias = state_of_class({name: read(generator[name]) for name in names}, config, class_index)
    fixed = {name: tensor for name, tensor in generator.items() if name not in (EMBEDDING_NAME, "mapping.w_avg")} | bias
    if critic is None or PROJECTION_NAME not in critic:
        return fixed, None if critic is None else dict(critic)
    if shape_of(critic, PROJECTION_NAME, 2) != (config.n_classes, shape_of(critic, LOGIT_NAME, 2)[1]):
        raise UnreadableError("has a class projection in a wrong shape")
    logit = critic_of_class({name: read(critic[name]) for name in (LOGIT_NAME, PROJECTION_NAME)}, class_index)
    return fixed, {name: tensor for name, tensor in critic.items() if name != PROJECTION_NAME} | logit


def require_class(class_index: int, n_classes: int) -> None:
    """Raises UnreadableError for a class that is not there."""
    if not 0 <= class_index < n_classes:
        last = n_classes - 1
        raise UnreadableError(f"has the classes 0 to {last} and no class {class_index}", f"give a --class up to {last}")


def label_embedding(weight: Tensor, bias: Tensor, class_index: int) -> Tensor:
    """Normalised embedding of one class."""
    return normalize_second_moment((weight[:, class_index] / math.sqrt(weight.shape[1]) + bias)[None])[0]


def discriminator_of_class(state: State, class_index: int) -> dict[str, StoredTensor | Tensor]:
    """A class-conditional discriminator with the class put into its last layer (projection becomes one logit)."""
    names = sorted(name for name in state if name.startswith("mapping."))
    if not names:
        return dict(state)
    fixed = {name: tensor for name, tensor in state.items() if name not in names}
    shape_of(state, "mapping.embed.weight", 2)
    require_class(class_index, state["mapping.embed.weight"].shape[1])
    try:
        x = label_embedding(read(state["mapping.embed.weight"]), read(state["mapping.embed.bias"]), class_index)
        for i in range(sum(name.startswith("mapping.fc") for name in names) // 2):
            weight, bias = read(state[f"mapping.fc{i}.weight"]), read(state[f"mapping.fc{i}.bias"])
            y = (weight @ x / math.sqrt(len(x)) + bias) * MAPPING_LR_MULTIPLIER
            x = nn.functional.leaky_relu(y, 0.2) * math.sqrt(2)
        gain = 1 / math.sqrt(len(x))
        fixed["b4.out.weight"] = (x @ read(state["b4.out.weight"]) * gain)[None]
        fixed["b4.out.bias"] = (x @ read(state["b4.out.bias"]) * gain)[None]
    except (KeyError, RuntimeError, IndexError) as error:
        raise UnreadableError("has a class-conditional discriminator in wrong shapes") from error
    return fixed


def read(tensor: StoredTensor | Tensor) -> Tensor:
    """Values in float32."""
    return (tensor.read() if isinstance(tensor, StoredTensor) else tensor).float()
