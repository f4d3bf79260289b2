"""Shared pieces: fixed threads and seeds, and one analytic object that several rooms' tests can use."""

import pytest
import torch

torch.set_num_threads(min(2, torch.get_num_threads()))  # the tests must fit a two-core machine


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random state."""
    torch.manual_seed(0)
