"""The networks of the prior in one place: `Generator`, `Discriminator`, their configurations, and published weights.

`published_state` turns a state dict of the published PyTorch implementation into ours: the names are the same, only the
constant `resample_filter` buffers are dropped (they must be the [1, 3, 3, 1] filter).
"""

import torch
from torch import Tensor

from gan2shape.gan.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.gan.generator import Generator, GeneratorConfig
from gan2shape.gan.layers import fir_kernel

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "Generator",
    "GeneratorConfig",
    "n_parameters",
    "published_state",
]

FILTER_TOLERANCE = 1e-6  # of a stored filter against ours


def published_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict of a published network without its filter buffers. ValueError if the filter is not [1, 3, 3, 1]."""
    kept = {}
    for name, tensor in state.items():
        if name.endswith("resample_filter"):
            if tensor.shape != (4, 4) or not torch.allclose(tensor.float(), fir_kernel(), atol=FILTER_TOLERANCE):
                raise ValueError(f"{name} is not the [1, 3, 3, 1] filter")
        else:
            kept[name] = tensor
    return kept


def n_parameters(module: torch.nn.Module) -> int:
    """Number of learnt values."""
    return sum(p.numel() for p in module.parameters())
