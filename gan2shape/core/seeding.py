"""Initial weights that depend on a seed alone, whatever the process has used torch's global generator for."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Networks made inside take their CPU weights from `seed`; torch's global generator is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
