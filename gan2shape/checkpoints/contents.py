"""Everything in a file under dotted names, and which of it are the networks.

It does not matter in which dictionary, list or object networks were put: a network is found by a name that only it has,
and the averaged generator by any part of its prefix that names an average. What lies beside the networks is passed
over, and named.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from gan2shape.checkpoints.errors import UnreadableError
from gan2shape.checkpoints.inert import ArrayClaim, Stub, shown
from gan2shape.checkpoints.stored import StoredTensor
from gan2shape.nn.layers import fir_kernel

MAX_DEPTH = 40  # of dictionaries in dictionaries; a module takes three
MAX_PARTS = 50_000  # tensors and collections that are looked at; a published file has about two thousand
MAX_STEPS = 300_000  # entries of dictionaries and lists that are passed
MAX_NAME = 400  # characters of a dotted name
FILTER_TOLERANCE = 1e-6
COUNTERS = ("total_ops", "total_params")  # that a profiler leaves in every module
FILTER_NAMES = ("resample_filter", "kernel")
MODULE_PARTS = ("_parameters", "_buffers", "_modules")
INIT_KWARGS = "_init_kwargs"
PLAIN_NAMES = ("conv_clamp", "bias_gain", "group_size")  # settings of layers that are kept
AVERAGES, OF_NETWORK = (
    "(?:ema|running|smooth(?:ed)?|avg|averaged?|shadow|polyak)",
    "(?:net|network|g|d|gen|generator|discriminator|decoder|model|module|weights?|params?|state|dict|copy)",
)
AVERAGED = re.compile(f"{OF_NETWORK}*{AVERAGES}+{OF_NETWORK}*|gs")  # alone or written together with other words
GENERATOR_NAMES = ("decoder", "generator", "G", "g")
SWA_COUNT = "n_averaged"  # what torch.optim.swa_utils.AveragedModel keeps beside its module
TRAINED = "the generator being trained, not its average"
ANOTHER, ANOTHER_AVERAGE = "another generator", "another average"
NO_PART = "no part of a generator or discriminator that is read here"
NO_AVERAGE = "No name in the file says that this generator is an average; it may be the one being trained."
MAX_LISTED = 8  # names in a line of what was ignored
Collection = dict | list | tuple | Stub


@dataclass
class Contents:
    """Everything in a file, by dotted name."""

    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    plain: dict[str, Any] = field(default_factory=dict)  # settings of layers and constructor arguments
    top: list[str] = field(default_factory=list)  # outermost names
    classes: list[str] = field(default_factory=list)  # of the outermost modules
    is_whole: bool = True  # false: the search ended before the file did


@dataclass(frozen=True)
class Place:
    """Where a network lies: its prefix, and the name by which it was recognised."""

    prefix: str
    tail: str

    @property
    def is_named_average(self) -> bool:
        """Whether any part of the prefix names these weights an average."""
        words = re.findall(r"[A-Za-z]+", self.prefix)
        words += re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", self.prefix)  # parts of EmaHead
        return any(AVERAGED.fullmatch(word.lower()) for word in words)


def flatten(value: Any) -> Contents:
    """Dotted names of all tensors, and of the settings that are kept, in dictionaries, lists and stubs.

    Breadth first: networks lie near the surface, and what is too much is further down. What holds itself is entered
    once; what lies in two places is found in both.
    """
    contents, without = Contents(), barren(value)
    queue = deque([(value, "", 0, ())])
    n_steps = 0
    while queue:
        value, name, depth, above = queue.popleft()
        above = (id(value), above)
        for key, part in _parts(value, contents, depth):
            n_steps += 1
            if n_steps > MAX_STEPS or len(contents.tensors) + len(queue) > MAX_PARTS:
                contents.is_whole = False
                return contents
            inner = joined(name, key)
            part = part.tensor if isinstance(part, ArrayClaim) else part
            if len(inner) > MAX_NAME or depth == MAX_DEPTH:
                continue
            if _is_setting(key):
                contents.plain.setdefault(inner, part)
            elif isinstance(part, StoredTensor):
                contents.tensors.setdefault(inner, part)
            elif isinstance(part, Collection) and id(part) not in without and not _is_above(part, above):
                queue.append((part, inner, depth + 1, above))
    return contents


def barren(value: Any) -> set[int]:
    """Ids of the collections in `value` in which, at any depth, is neither a tensor nor a setting that is kept. Each is
    looked into once: configurations refer to each other in circles.
    """
    holders: dict[int, list[int]] = {id(value): []}  # of each collection, what it lies in
    queue, fertile, n_steps = deque([value]), [], 0
    while queue and n_steps <= MAX_STEPS:
        holder = queue.popleft()
        for key, part in _parts(holder, Contents(), MAX_DEPTH):
            n_steps += 1
            if n_steps > MAX_STEPS:  # not known to be barren
                fertile.append(id(holder))
                break
            if _is_setting(key) or isinstance(part, StoredTensor | ArrayClaim):
                fertile.append(id(holder))
            elif isinstance(part, Collection):
                if id(part) not in holders:
                    queue.append(part)
                holders.setdefault(id(part), []).append(id(holder))
    fertile += map(id, queue)
    known: set[int] = set()
    while fertile:
        one = fertile.pop()
        if one not in known:
            known.add(one)
            fertile += holders[one]
    return holders.keys() - known


def _is_setting(key: str) -> bool:
    return key == INIT_KWARGS or key.endswith(PLAIN_NAMES)


def _is_above(part: Any, above: tuple) -> bool:
    """Whether a collection holds the place where it lies. `above`: the id of what it lies in, and so on outwards."""
    while above:
        if above[0] == id(part):
            return True
        above = above[1]
    return False


def _parts(value: Any, contents: Contents, depth: int) -> Iterator[tuple[str, Any]]:
    """The entries of a dictionary, list or object. Parameters and submodules of a module are its own entries."""
    if isinstance(value, dict):
        for key, part in value.items():
            if depth == 0:
                contents.top.append(shown(str(key)))
            yield ("" if key in MODULE_PARTS else str(key)), part
    elif isinstance(value, Stub):
        is_module = "_modules" in value.state
        if depth < 2 and is_module:
            contents.classes.append(shown(value.kind))
        for key, part in _parts(value.state, contents, depth + 1):
            # Gains that a layer has computed are numbers of numpy's: weights are among the parameters and buffers.
            if not (is_module and isinstance(part, StoredTensor | ArrayClaim)) or key.endswith(PLAIN_NAMES):
                yield key, part
        yield from _parts((*value.items, *value.args), contents, 1)
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            if isinstance(part, dict | list | tuple | Stub | StoredTensor | ArrayClaim):
                yield str(i), part


def joined(*parts: str) -> str:
    """A dotted name."""
    return ".".join(part for part in parts if part)


def places(contents: Contents, tails: tuple[str, ...]) -> list[Place]:
    """Networks that have a tensor with one of the `tails`."""
    return [
        Place(name[: -len(tail)], tail)
        for name in contents.tensors
        for tail in tails
        if name == tail or name.endswith("." + tail)
    ]


def is_average(contents: Contents, place: Place) -> bool:
    """Whether a network's weights are an average: its prefix names it so, or a count of averages lies beside it."""
    outer = place.prefix.removesuffix("module.")
    return place.is_named_average or (outer != place.prefix and outer + SWA_COUNT in contents.tensors)


def best_generator(contents: Contents, found: list[Place]) -> Place:
    """The averaged generator, else the one with the most specific name, else the outermost."""

    def rank(place: Place) -> tuple[bool, int, int]:
        last = place.prefix.removesuffix("module.").rstrip(".").rpartition(".")[2]
        known = GENERATOR_NAMES.index(last) if last in GENERATOR_NAMES else len(GENERATOR_NAMES)
        return not is_average(contents, place), known, len(place.prefix)

    return min(found, key=rank)


def best_discriminator(found: list[Place], names: tuple[str, ...] = ("D", "d", "discriminator")) -> Place | None:
    """The discriminator: the one being trained, where there is an average as well."""

    def rank(place: Place) -> tuple[bool, bool, int]:
        last = place.prefix.removesuffix("module.").rstrip(".").rpartition(".")[2]
        return place.is_named_average, last not in names, len(place.prefix)

    return min(found, key=rank, default=None)


def part(tensors: dict[str, StoredTensor], prefix: str) -> dict[str, StoredTensor]:
    """Tensors below a prefix, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def beside(contents: Contents, prefix: str, name: str) -> StoredTensor | None:
    """A tensor of that name in the network itself or in what holds it."""
    while True:
        if prefix + name in contents.tensors:
            return contents.tensors[prefix + name]
        if not prefix:
            return None
        prefix = prefix[:-1].rpartition(".")[0]
        prefix = f"{prefix}." if prefix else ""


def ignored(contents: Contents, taken: Place, others: list[Place], used: tuple[str, ...]) -> list[str]:
    """Sentences about what of a file is not used, and why. `used`: prefixes or names that are."""
    lines, known = [], [taken.prefix, *used]
    for place in others:
        if place.prefix == taken.prefix:
            continue
        known.append(place.prefix)
        reason = reason_of(is_average(contents, taken), is_average(contents, place))
        lines.append(f"{shown(place.prefix) or 'without a prefix'}: {reason}")
    names = dict.fromkeys((*contents.top, *_siblings(contents, taken.prefix)))
    rest = [name for name in names if not any(_overlap(f"{name}.", prefix) for prefix in known)]
    if rest:
        more = f" and {len(rest) - MAX_LISTED} more" if rest[MAX_LISTED:] else ""
        lines.append(f"{', '.join(rest[:MAX_LISTED])}{more}: {NO_PART}")
    if not contents.is_whole:
        lines.append("what comes after a great number of other things")
    return lines


def reason_of(is_taken_average: bool, is_average: bool) -> str:
    """Why a further generator is not used."""
    return ANOTHER if not is_taken_average else ANOTHER_AVERAGE if is_average else TRAINED


def _siblings(contents: Contents, prefix: str) -> Iterator[str]:
    """What lies beside a network, within what holds it: `models.discriminator` beside `models.generator.`."""
    holders = [m.end() for m in re.finditer(r"\.", prefix)][:-1]
    for end in holders:
        for name in contents.tensors:
            if name.startswith(prefix[:end]):
                yield shown(prefix[:end] + name[end:].partition(".")[0])


def _overlap(name: str, prefix: str) -> bool:
    return name.startswith(prefix) or prefix.startswith(name)


def without_filters(state: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The state without its constant blur kernels. Raises UnreadableError unless they are the [1, 3, 3, 1] filter."""
    kept = {}
    for name, tensor in state.items():
        if not name.endswith(FILTER_NAMES):
            if not name.endswith(COUNTERS):
                kept[name] = tensor
            continue
        kernel = tensor.read().float().view(4, 4) if tensor.n_values == 16 else torch.zeros(4, 4)
        # Some buffers carry the gain of upsampling: only the form of the filter is compared.
        if not torch.allclose(kernel / kernel.sum(), fir_kernel(), atol=FILTER_TOLERANCE):
            raise UnreadableError("resamples with another filter than [1, 3, 3, 1], which is not supported")
    return kept
