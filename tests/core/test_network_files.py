"""Files of small networks: a round trip that leaves the caller's random numbers alone."""

from dataclasses import dataclass
from pathlib import Path

import torch

from gan2shape.core.network_files import load_network, save_network


@dataclass(frozen=True)
class Sizes:
    """Of a linear layer."""

    sizes: tuple[int, int] = (3, 2)


def test_loading_gives_what_was_saved_and_draws_nothing(tmp_path: Path) -> None:
    layer = torch.nn.Linear(*Sizes().sizes)
    path = save_network(tmp_path / "layer.safetensors", layer, Sizes(), "layer-1")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = load_network(path, lambda fields: torch.nn.Linear(*Sizes(**fields).sizes), "layer-1", "layer", "make it")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found.weight, layer.weight.half().float())
    assert not found.weight.requires_grad
