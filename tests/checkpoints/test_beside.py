"""What lies beside the weights is passed over, without a line of it being run; only the generator is judged."""

import collections
import datetime
import enum
import functools
import io
import pickle
import random
import types
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from gan2shape.checkpoints.open import inspect
from gan2shape.checkpoints.summary import describe
from gan2shape.core.errors import UserError
from gan2shape.prior.checkpoint import load_generator
from tests.checkpoints import golden, lookalike
from tests.checkpoints.hostile_parts import called, pickled, text, writes
from tests.checkpoints.test_checkpoints import close, saved, state_dicts

SMALL = (8, (4, 4), 6, 2)


class Configuration(dict):
    """A dictionary of somebody's, with attributes and a parent: it holds itself."""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        self.parent = self


class Level(enum.Enum):
    """Enumerations pickle as calls of their class."""

    LOW = 1


class Callback:
    """An object with slots, made anew by a function of its module."""

    __slots__ = ("best",)

    def __init__(self) -> None:
        self.best = {0.5: [1, 2]}


def optimiser() -> torch.optim.Optimizer:
    """An optimiser itself, whose state has parameters as keys."""
    parameter = nn.Parameter(torch.randn(3))
    found = torch.optim.Adam([parameter])
    parameter.sum().backward()
    found.step()
    return found


def parameter_with_attributes() -> nn.Parameter:
    found = nn.Parameter(torch.randn(3))
    found.tag = {"lr": 0.1}
    return found


BESIDE: dict[str, Callable[[], Any]] = {
    "defaultdict": lambda: collections.defaultdict(list, loss=[0.1, 0.2]),
    "counter": lambda: collections.Counter("abc"),
    "deque": lambda: collections.deque([1.5, 2.5], maxlen=9),
    "named tuple": lambda: torch.return_types.max((torch.ones(1), torch.zeros(1))),
    "date": lambda: datetime.datetime(2021, 5, 4, tzinfo=datetime.UTC),
    "dates as keys": lambda: {datetime.date(2021, 5, 4): 1.0},
    "configuration": lambda: Configuration(size=64, nested=Configuration(lr=0.002)),
    "configuration of OmegaConf": lambda: OmegaConf.create({f"part{i}": {"lr": 0.1, "size": 64} for i in range(9)}),
    "settings of OmegaConf": lambda: OmegaConf.create({f"part{i}": {"mbstd_group_size": 4} for i in range(9)}),
    "web": lambda: web(9),
    "enumeration": lambda: Level.LOW,
    "slots": Callback,
    "fraction": lambda: Fraction(1, 3),
    "partial function": lambda: functools.partial(max, default=0),
    "random state of Python": lambda: random.Random(1).getstate(),
    "random state of numpy": lambda: np.random.RandomState(1).get_state(),
    "generator of numpy": lambda: np.random.default_rng(1),
    "random state of torch": lambda: torch.random.get_rng_state(),
    "optimiser": optimiser,
    "state of an optimiser by address": lambda: {"state": {140_000_000_000_000: {"step": 1}}, "param_groups": []},
    "odd keys": lambda: {0.5: 1, (1, "a"): 2, b"raw": 3, frozenset({1}): 4, 2**70: 5, None: 6},
    "types": lambda: [torch.float16, np.dtype("float32"), torch.Size([2, 3]), slice(1, 2), complex(1, 2), range(3)],
    "arrays of other types": lambda: [np.zeros(3, t) for t in ("u2", "u4", "c8", ">f4", "U5", "S3", "M8[s]")],
    "array of objects": lambda: np.array([{}, None, "a"], dtype=object),
    "structured array": lambda: np.zeros(3, [("a", "f4"), ("b", "i4")]),
    "column-major array": lambda: np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "number of numpy's": lambda: {"kimg": np.float32(3), "name": np.str_("a")},
    "tensors of other types": lambda: [torch.zeros(3, dtype=t) for t in (torch.uint16, torch.complex64)],
    "sparse tensor": lambda: torch.eye(3).to_sparse(),
    "parameter with attributes": parameter_with_attributes,
    "module of another kind": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    "ring": lambda: ring(),
    "long list": lambda: [{"kimg": i, "fid": 1.0 / (i + 1)} for i in range(20_000)],
}


def ring() -> dict:
    """A dictionary that holds itself."""
    found: dict = {}
    found["self"] = [found]
    return found


def web(n: int) -> list[dict]:
    """Dictionaries of which each holds all."""
    found: list[dict] = [{} for _ in range(n)]
    for one in found:
        one |= {f"to{i}": other for i, other in enumerate(found)}
    return found


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow) if one == "long list" else one for one in BESIDE]
)
def test_things_beside_the_weights(name: str, place: str, tmp_path: Path) -> None:
    state = lookalike.rosinality_state(*SMALL)
    thing = {"thing": BESIDE[name]()}
    path = saved({**thing, **state} if place == "before" else {**state, **thing}, tmp_path)
    prior = load_generator(path)
    assert torch.equal(prior.generator.mapping.fc0.weight, state["g_ema"]["style.1.weight"])
    assert prior.discriminator is not None
    lines = [line for line in describe(inspect(path)) if line.startswith("ignored")]
    assert any("thing" in line for line in lines)
    assert not any("great number" in line for line in lines)


@pytest.mark.parametrize("name", ["optimiser", "tensors of other types", "module of another kind"])
def test_things_beside_the_weights_in_the_old_format(name: str, tmp_path: Path) -> None:
    state = lookalike.rosinality_state(*SMALL)
    value = {"thing": BESIDE[name](), **state}
    if name == "tensors of other types":
        value["thing"] = torch.zeros(3, dtype=torch.complex64)  # the others have no old form
    path = saved(value, tmp_path, _use_new_zipfile_serialization=False)
    assert torch.equal(load_generator(path).generator.mapping.fc0.weight, state["g_ema"]["style.1.weight"])


def test_weights_may_be_column_major_or_have_attributes(tmp_path: Path) -> None:
    state = lookalike.rosinality_state(*SMALL)
    expected = state["g_ema"]["style.1.weight"].clone()
    state["g_ema"]["style.1.weight"] = np.asfortranarray(expected.numpy())
    bias = nn.Parameter(state["g_ema"]["style.1.bias"] + 2)
    bias.tag = "mapping"
    state["g_ema"]["style.1.bias"] = bias
    generator = load_generator(saved(state, tmp_path)).generator
    assert torch.equal(generator.mapping.fc0.weight, expected)
    assert torch.equal(generator.mapping.fc0.bias, bias.detach())


@pytest.mark.parametrize("wrap", [lambda g: [g], lambda g: (7, g, "x"), lambda g: {"nets": [{"a": 1}, {"net": g}]}])
def test_networks_in_lists_and_tuples(wrap: Callable, tmp_path: Path) -> None:
    state = lookalike.rosinality_state(*SMALL)["g_ema"]
    path = saved(wrap(state), tmp_path)
    assert torch.equal(load_generator(path).generator.mapping.fc0.weight, state["style.1.weight"])


def test_networks_of_nvidia_in_a_tuple(tmp_path: Path) -> None:
    io_, path = golden.load("nvidia_ada_skip_32_io.npz"), tmp_path / "a.pkl"
    network = lookalike.nvidia_network(state_dicts()["G_ema"], "Generator", {})
    with lookalike.published_modules():
        path.write_bytes(pickle.dumps((None, network)))
    close(load_generator(path).generator(io_["z"]), io_["image"])


class Layer(nn.Module):
    """A class of somebody's own with a network's parts as attributes."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in state.items():
            head, _, rest = name.partition(".")
            if rest:
                parts.setdefault(head, {})[rest] = tensor
            else:
                self.register_buffer(head, tensor)
        for head, inner in parts.items():
            self.add_module(head, Layer(inner))


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_whole_module_is_read_as_data(is_zip: bool, tmp_path: Path) -> None:
    state = lookalike.rosinality_state(*SMALL)["g_ema"]
    path = saved(Layer(state), tmp_path, _use_new_zipfile_serialization=is_zip)
    assert torch.equal(load_generator(path).generator.mapping.fc0.weight, state["style.1.weight"])
    assert any("test_beside.Layer" in note for note in inspect(path)["source"]["notes"])


def test_module_that_knows_what_holds_it_is_one_generator(tmp_path: Path) -> None:
    state = lookalike.rosinality_state(*SMALL)["g_ema"]
    network = Layer(state)
    holder = types.SimpleNamespace(net=network, again={"net": network})
    network.__dict__["holder"] = holder
    found = inspect(saved({"whole": holder}, tmp_path))["source"]
    assert (found["taken"], len(found["ignored"])) == ("whole.net.", 1)
    assert found["ignored"][0].startswith("whole.again.net.: another generator")


@pytest.mark.parametrize("package", ["torch_utils", "x.torch_utils", "editing.models.torch_utils"])
def test_persistence_of_another_package_beside_a_foreign_discriminator(package: str, tmp_path: Path) -> None:
    io_, path = golden.load("nvidia_ada_skip_32_io.npz"), tmp_path / "a.pkl"
    network = lookalike.nvidia_network(state_dicts()["G_ema"], "Generator", {}, writes(tmp_path / "marker"))
    value = {"G_ema": network, "D": Layer({"feature_network.weight": torch.zeros(3, 3)})}
    plain = lookalike.nvidia_pickle(value, 4)
    longer = f"{package}.persistence".encode()
    short = b"torch_utils.persistence"
    data = plain.replace(bytes([len(short)]) + short, bytes([len(longer)]) + longer)
    path.write_bytes(data)
    prior = load_generator(path)
    close(prior.generator(io_["z"]), io_["image"])
    assert prior.discriminator is None
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("fault", ["shape", "name", "filter", "missing"])
def test_discriminator_that_is_none_of_ours_is_left_out_with_a_note(fault: str, tmp_path: Path) -> None:
    state = lookalike.rosinality_state(*SMALL)
    critic = state["d"]
    if fault == "shape":
        critic["final_conv.0.weight"] = torch.zeros(4, 7, 3, 3)
    elif fault == "name":
        critic["attention.weight"] = torch.zeros(4)
    elif fault == "filter":
        critic["convs.1.conv2.0.kernel"] = torch.ones(4, 4)
    else:
        del critic["final_linear.0.weight"]
    path = saved(state, tmp_path)
    assert load_generator(path).discriminator is None
    assert any("discriminator" in note and "left out" in note for note in inspect(path)["source"]["notes"])


def test_call_beside_good_weights_is_not_made(tmp_path: Path) -> None:
    """A harmless-looking function of a module that is there: it becomes a stub, and its module is not imported."""
    marker, path = tmp_path / "marker", tmp_path / "a.pkl"
    weights = pickle.dumps({k: t.numpy() for k, t in lookalike.rosinality_state(*SMALL)["g_ema"].items()}, 4)
    call = called("numpy.testing._private.utils", "runstring", text(writes(marker)))
    body = b"}" + text("beside") + call + b"s" + text("g_ema")
    inner = weights[2:-1]
    path.write_bytes(pickled(body + inner + b"s"))
    assert load_generator(path).generator.config.resolution == 8
    assert not marker.exists()


@pytest.mark.parametrize("name", ["os.system", "posix.system", "builtins.exec", "subprocess.Popen", "os.path.exists"])
def test_names_that_would_run_something_end_the_reading(name: str, tmp_path: Path) -> None:
    """Even beside good weights: such a file is not to be opened by anything else either."""
    module, _, function = name.rpartition(".")
    path = tmp_path / "a.pkl"
    weights = pickle.dumps({k: t.numpy() for k, t in lookalike.rosinality_state(*SMALL)["g_ema"].items()}, 4)
    call = called(module, function, text("true"))
    path.write_bytes(pickled(b"}" + text("g_ema") + weights[2:-1] + b"s" + text("x") + call + b"s"))
    with pytest.raises(UserError, match="nothing was executed"):
        load_generator(path)


def test_namespace_and_bytes(tmp_path: Path) -> None:
    state = lookalike.rosinality_state(*SMALL)
    stream = io.BytesIO()
    pickle.dump(state["g_ema"], stream)
    path = saved({**state, "args": types.SimpleNamespace(lr=1), "blob": stream.getvalue()}, tmp_path)
    assert torch.equal(load_generator(path).generator.w_avg, state["latent_avg"])
