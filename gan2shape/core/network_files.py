"""Small networks in files of their own: half-precision safetensors, the configuration as JSON in the file's metadata,
and beside it a card that says what the network was trained on. Nothing is pickled.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from gan2shape.core.errors import UserError
from gan2shape.core.files import to_json, write_atomic
from gan2shape.core.seeding import seeded

Network = TypeVar("Network", bound=nn.Module)
READABLE_BY_ALL = 0o644  # mode of the file


def save_network(path: Path, network: nn.Module, config: Any, kind: str, card: Mapping[str, Any] | None = None) -> Path:
    """Write a network and its configuration (a dataclass) in half precision, whole or not at all. Returns the path.

    kind: name and version of the format, which `load_network` asks for. card: how it was made, for `read_network_card`.
    """
    metadata = {"format": kind, "config": json.dumps(asdict(config))}
    metadata |= {} if card is None else {"card": to_json(dict(card))}
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }

    def save(temporary: Path) -> None:
        save_file(tensors, temporary, metadata=metadata)
        temporary.chmod(READABLE_BY_ALL)

    return write_atomic(path, save)


def load_network(path: Path, build: Callable[[dict[str, Any]], Network], kind: str, what: str, command: str) -> Network:
    """The network in a file, frozen, on the CPU. `build` makes an untrained one from the configuration's fields.

    what: the network in words; command: that makes it. Raises UserError for a file that is missing, damaged or of
    another version.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} does not exist: make it with `{command}`.")
    remedy = f"restore it, or make it anew with `{command}`"
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            state = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118  (not a dict)
        if metadata.get("format") != kind:
            raise UserError(f"{path} is no {what} of this version ({kind}): {remedy}.")
        fields = json.loads(metadata["config"])
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        with seeded(0):  # replaced at once; the caller's random numbers stay what they were
            network = build(fields)
        network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in state.items()})
        if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
            raise ValueError("weights that are not finite")
    except (OSError, SafetensorError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path} is damaged: {remedy}.") from error
    return network.eval().requires_grad_(False)


def network_format(path: Path) -> str:
    """The name and version that a network's file gives itself; nothing for a file that is none."""
    try:
        with safe_open(path, framework="pt") as stored:
            return (stored.metadata() or {}).get("format", "")
    except (OSError, SafetensorError):
        return ""


def read_network_card(path: Path) -> dict[str, Any]:
    """What a network's file says of its training; nothing where it says nothing. Raises UserError for another file."""
    return _page(path, "card")


def read_network_config(path: Path) -> dict[str, Any]:
    """The configuration's fields, without building the network. Raises UserError as `read_network_card` does."""
    return _page(path, "config")


def _page(path: Path, name: str) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as stored:
            return json.loads((stored.metadata() or {}).get(name, "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{path} holds no network: name a file that a training has written.") from error
