"""Checkpoints built like the published ones, from state dicts: NVIDIA's persistent pickles, rosinality's dictionaries.

The pickles follow the description in tests/data/golden/README.md: every module reduces to a call of
`torch_utils.persistence._reconstruct_persistent_obj(meta)` with its source text, class name and `__dict__`.
"""

import io
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BUFFERS = ("noise_const", "resample_filter", "w_avg")
PERSISTENCE, EASY_DICT = "torch_utils.persistence", "dnnlib.util"
SOURCE = "raise SystemExit('module_src was executed')"


class EasyDict(dict):
    """Stands for the published class of that name."""


class Module:
    """A module of a published network: it pickles as NVIDIA's persistent classes do."""

    def __init__(self, class_name: str, state: dict[str, Any], source: str = SOURCE) -> None:
        self.class_name, self.state, self.source = class_name, state, source

    def __reduce__(self) -> tuple:
        meta = {"type": "class", "version": 6, "module_src": self.source, "class_name": self.class_name}
        return sys.modules[PERSISTENCE]._reconstruct_persistent_obj, ({**meta, "state": self.state},)


@contextmanager
def published_modules() -> Iterator[None]:
    """Names that pickles of the published code refer to, for as long as one is written."""
    persistence, util = types.ModuleType(PERSISTENCE), types.ModuleType(EASY_DICT)

    def _reconstruct_persistent_obj(meta: Any) -> None:
        raise AssertionError("never called")

    _reconstruct_persistent_obj.__module__ = PERSISTENCE
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj, util.EasyDict = _reconstruct_persistent_obj, EasyDict
    EasyDict.__module__ = EASY_DICT
    modules = {"torch_utils": types.ModuleType("torch_utils"), PERSISTENCE: persistence}
    modules |= {"dnnlib": types.ModuleType("dnnlib"), EASY_DICT: util}
    with registered(modules):
        yield


@contextmanager
def registered(modules: dict[str, types.ModuleType]) -> Iterator[None]:
    """These modules can be imported, for a while."""
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.__setitem__(name, module)


def module_tree(state: dict[str, Tensor], name: str, class_name: str, source: str, **attributes: Any) -> Module:
    """Nested modules of a flat state dict. `attributes` belong to every module (layers keep their own settings)."""
    parts: dict[str, dict[str, Tensor]] = {}
    own: dict[str, Any] = {"training": False, "_parameters": OrderedDict(), "_buffers": OrderedDict(), **attributes}
    own |= {"_non_persistent_buffers_set": set(), "_backward_hooks": OrderedDict(), "_is_full_backward_hook": None}
    own.setdefault("weight_gain", np.sqrt(0.5))  # layers keep what they computed as a number of numpy's
    for key, tensor in state.items():
        child, _, rest = key.partition(".")
        if rest:
            parts.setdefault(child, {})[rest] = tensor
        elif child in BUFFERS:
            own["_buffers"][child] = tensor
        else:
            own["_parameters"][child] = nn.Parameter(tensor)
    own["_modules"] = OrderedDict(
        (child, module_tree(inner, child, f"{child}Layer", source, **attributes)) for child, inner in parts.items()
    )
    return Module(class_name, own, source)


def nvidia_network(
    state: dict[str, Tensor], class_name: str, kwargs: dict[str, Any], source: str = SOURCE, **attributes: Any
) -> Module:
    """A published network with its constructor arguments."""
    network = module_tree(state, "", class_name, source, **attributes)
    network.state["_init_args"], network.state["_init_kwargs"] = (), EasyDict(kwargs)
    return network


def nvidia_pickle(networks: dict[str, Any], protocol: int | None = None) -> bytes:
    """The bytes of a published `.pkl` with these networks in it."""
    value = {**networks, "training_set_kwargs": EasyDict(path="cars.zip", use_labels=False), "augment_pipe": None}
    stream = io.BytesIO()
    with published_modules():
        pickle.Pickler(stream, protocol).dump(value)
    return stream.getvalue()


def nvidia_file(path: Path, state: dict[str, Tensor], protocol: int | None = None, **attributes: Any) -> Path:
    """A `.pkl` from golden names (`G_ema/…`, `D/…`)."""
    parts = {"G_ema": {}, "D": {}}
    for name, tensor in state.items():
        network, _, rest = name.partition("/")
        parts[network][rest] = tensor
    generator = nvidia_network(parts["G_ema"], "Generator", {"z_dim": 48, "synthesis_kwargs": EasyDict()}, **attributes)
    critic = nvidia_network(
        parts["D"], "Discriminator", {"epilogue_kwargs": EasyDict(mbstd_group_size=4)}, **attributes
    )
    path.write_bytes(nvidia_pickle({"G": generator, "D": critic, "G_ema": generator}, protocol))
    return path


def rosinality_state(resolution: int, widths: tuple[int, ...], dim: int, n_mapping: int) -> dict[str, Any]:
    """Random `g_ema`, `d` and `latent_avg` in rosinality's names and shapes. `widths` at 4, 8, …, resolution."""
    resolutions = [4 * 2**i for i in range(len(widths))]
    assert resolutions[-1] == resolution
    kernel = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = kernel[:, None] * kernel / 64
    g: dict[str, Tensor] = {}
    for i in range(1, n_mapping + 1):
        g[f"style.{i}.weight"], g[f"style.{i}.bias"] = torch.randn(dim, dim) * 100, torch.zeros(dim)

    def layer(name: str, into: int, out: int, size: int, colour: bool) -> None:
        g[f"{name}.conv.weight"] = torch.randn(1, out, into, size, size)
        g[f"{name}.conv.modulation.weight"] = torch.randn(into, dim)
        g[f"{name}.conv.modulation.bias"] = torch.ones(into)
        if colour:
            g[f"{name}.bias"] = torch.zeros(1, out, 1, 1)
        else:
            g[f"{name}.noise.weight"], g[f"{name}.activate.bias"] = torch.zeros(1), torch.zeros(out)

    g["input.input"] = torch.randn(1, widths[0], 4, 4)
    layer("conv1", widths[0], widths[0], 3, False)
    layer("to_rgb1", widths[0], 3, 1, True)
    g["noises.noise_0"] = torch.randn(1, 1, 4, 4)
    for i, (into, out) in enumerate(pairwise(widths)):
        layer(f"convs.{2 * i}", into, out, 3, False)
        g[f"convs.{2 * i}.conv.blur.kernel"] = kernel * 4
        layer(f"convs.{2 * i + 1}", out, out, 3, False)
        layer(f"to_rgbs.{i}", out, 3, 1, True)
        g[f"to_rgbs.{i}.upsample.kernel"] = kernel * 4
        for j in (1, 2):
            g[f"noises.noise_{2 * i + j}"] = torch.randn(1, 1, resolutions[i + 1], resolutions[i + 1])
    return {"g_ema": g, "d": _rosinality_critic(widths, kernel), "latent_avg": torch.randn(dim)}


def _rosinality_critic(widths: tuple[int, ...], kernel: Tensor) -> dict[str, Tensor]:
    fine = widths[::-1]
    d = {"convs.0.0.weight": torch.randn(fine[0], 3, 1, 1), "convs.0.1.bias": torch.zeros(fine[0])}
    for i, (into, out) in enumerate(pairwise(fine), start=1):
        d |= {f"convs.{i}.conv1.0.weight": torch.randn(into, into, 3, 3), f"convs.{i}.conv1.1.bias": torch.zeros(into)}
        d |= {f"convs.{i}.conv2.0.kernel": kernel, f"convs.{i}.conv2.1.weight": torch.randn(out, into, 3, 3)}
        d |= {f"convs.{i}.conv2.2.bias": torch.zeros(out), f"convs.{i}.skip.0.kernel": kernel}
        d[f"convs.{i}.skip.1.weight"] = torch.randn(out, into, 1, 1)
    c = widths[0]
    d |= {"final_conv.0.weight": torch.randn(c, c + 1, 3, 3), "final_conv.1.bias": torch.zeros(c)}
    d |= {"final_linear.0.weight": torch.randn(c, c * 16), "final_linear.0.bias": torch.zeros(c)}
    return d | {"final_linear.1.weight": torch.randn(1, c), "final_linear.1.bias": torch.zeros(1)}


class Network:
    """Stands for a network of the TensorFlow code: it pickles as its class and a state."""

    def __init__(self, name: str, arrays: dict[str, np.ndarray], components: dict[str, Any], **kwargs: Any) -> None:
        self.version, self.name, self.static_kwargs, self.components = 4, name, kwargs, components
        self.build_module_src, self.build_func_name = SOURCE, name
        self.variables = list(arrays.items())


def tensorflow_pickle(
    state: dict[str, Tensor],
    has_scalars: bool = True,
    settings: dict[str, Any] | None = None,
    module: str = "dnnlib.tflib.network",
    wrap: Callable[[tuple], Any] = tuple,
    protocol: int = 4,
) -> bytes:
    """A TensorFlow pickle (G, D, averaged G) of a generator and a discriminator in golden names.

    has_scalars: variables without axes are numpy's numbers, as `Session.run` returns them, and no arrays.
    """
    parts: dict[str, dict[str, np.ndarray]] = {"mapping": {}, "synthesis": {}, "": {}, "D": {}}
    for name, tensor in state.items():
        network, _, rest = name.partition("/")
        if rest.endswith("resample_filter"):
            continue
        if network == "D":
            key, array = _tensorflow_critic(rest, tensor)
            parts["D"][key] = array
        else:
            part, _, rest = rest.partition(".")
            key, array = _tensorflow_generator(f"{part}.{rest}", tensor)
            parts["" if key == "dlatent_avg" else part][key] = array
    inner = {name: Network(name, parts[name], {}) for name in ("mapping", "synthesis")}
    if has_scalars:
        for arrays in parts.values():
            arrays.update({key: array[()] for key, array in arrays.items() if array.ndim == 0})
    arguments = {"mapping_lrmul": 0.01, "resample_kernel": [1, 3, 3, 1], **(settings or {})}
    generators = [Network(name, parts[""], inner, **arguments) for name in ("G", "Gs")]
    critic = Network("D", parts["D"], {}, mbstd_group_size=4, **(settings or {}))
    names = module.split(".")
    modules = {name: types.ModuleType(name) for name in (".".join(names[: i + 1]) for i in range(len(names)))}
    modules[module].Network = Network
    Network.__module__ = module
    with registered(modules):
        return pickle.dumps(wrap((generators[0], critic, generators[1])), protocol)


def _array(tensor: Tensor, *axes: int) -> np.ndarray:
    return np.ascontiguousarray(tensor.permute(axes).numpy() if axes else tensor.numpy())


def _kernel(tensor: Tensor) -> np.ndarray:
    return _array(tensor, *{2: (1, 0), 4: (2, 3, 1, 0)}.get(tensor.ndim, ()))


def _tensorflow_generator(name: str, tensor: Tensor) -> tuple[str, np.ndarray]:
    network, layer, *rest = name.split(".")
    if network == "mapping":
        if layer == "embed":
            return f"LabelEmbed/{rest[0]}", _kernel(tensor)
        return ("dlatent_avg", _array(tensor)) if layer == "w_avg" else (f"Dense{layer[2:]}/{rest[0]}", _kernel(tensor))
    size = int(layer[1:])
    block = f"{size}x{size}"
    if rest == ["const"]:
        return f"{block}/Const/const", _array(tensor[None])
    up = {"conv0": "Conv0_up", "conv1": "Conv" if size == 4 else "Conv1", "torgb": "ToRGB", "skip": "Skip"}[rest[0]]
    kind = ".".join(rest[1:])
    if kind == "noise_const":
        index = 2 * (size.bit_length() - 3) - (rest[0] == "conv0")
        return f"noise{index}", _array(tensor[None, None])
    if kind == "weight" and up in ("Conv0_up", "Skip"):
        tensor = tensor.flip(2, 3)
    if kind == "affine.bias":
        tensor = tensor - 1
    ours = {"affine.weight": "mod_weight", "affine.bias": "mod_bias"}.get(kind, kind)
    return f"{block}/{up}/{ours}", _kernel(tensor)


def _tensorflow_critic(name: str, tensor: Tensor) -> tuple[str, np.ndarray]:
    block, layer, kind = name.split(".")
    names = {"fromrgb": "FromRGB", "conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip", "conv": "Conv"}
    names["fc"] = "Dense0"
    if layer == "out":
        return f"Output/{kind}", _kernel(tensor)
    return f"{block[1:]}x{block[1:]}/{names[layer]}/{kind}", _kernel(tensor)
