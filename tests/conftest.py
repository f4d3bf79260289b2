"""One thread a process (as many processes run as there are cores), and the same random state for every test."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; for child processes too

import pytest
import torch

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun in the background: what tests start would not hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Nothing is noted in the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN2SHAPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random state."""
    torch.manual_seed(0)
