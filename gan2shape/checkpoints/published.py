"""Weights of the published PyTorch implementation: the names are ours, but for constant filter buffers."""

import torch
from torch import Tensor

from gan2shape.nn.layers import fir_kernel

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
