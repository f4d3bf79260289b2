"""Initial weights that depend on a seed alone, whatever the process has used torch's global generator for."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# torch has one generator for the process: of several threads that make networks, one at a time may seed it.
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Networks that this thread makes inside take their CPU weights from `seed`; torch's global generator is as before
    afterwards.
    """
    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
