"""One thread a process (as many processes run as there are cores), and the same random state for every test."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; for child processes too

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random state."""
    torch.manual_seed(0)
