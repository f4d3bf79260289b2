"""The mapping network's learning-rate multiplier, estimated from its weights where no file states it.

Weights of a layer with the multiplier m are initialised with the standard deviation 1 / m and used times m. Training
moves them by little, so that a network of .01 (published) has about 100 in its layers, and one of .1 about 10.
"""

import math
from collections.abc import Mapping

import torch

from gan2shape.checkpoints.assemble import MAPPING_LR_MULTIPLIER, read
from gan2shape.checkpoints.stored import StoredTensor

CANDIDATES = (0.01, 0.1, 1.0)
NEAR = math.log(2.5)  # of a standard deviation to what the multiplier would make it
MAX_VALUES = 2**22  # of a layer that is read for this
MIN_VALUES = 64  # fewer are no estimate
ORIGIN = "mapping multiplier"


def estimated_multiplier(state: Mapping[str, StoredTensor]) -> tuple[float, str]:
    """(multiplier, how it is known) from a generator's weights in our names."""
    spreads = []
    for name, tensor in state.items():
        is_weight = name.startswith("mapping.fc") and name.endswith(".weight")
        if is_weight and MIN_VALUES <= math.prod(tensor.shape) <= MAX_VALUES:
            spread = float(read(tensor).std())
            if 0 < spread < math.inf:
                spreads.append(math.log(spread))
    if spreads:
        middle = float(torch.tensor(spreads).median())
        nearest = min(CANDIDATES, key=lambda m: abs(middle + math.log(m)))
        if abs(middle + math.log(nearest)) < NEAR:
            return nearest, f"estimated from the standard deviation of its weights, {math.exp(middle):.3g}"
        return (
            MAPPING_LR_MULTIPLIER,
            f"assumed: the standard deviation of its weights, {math.exp(middle):.3g}, is unusual",
        )
    return MAPPING_LR_MULTIPLIER, "assumed: the weights are too few for an estimate"
