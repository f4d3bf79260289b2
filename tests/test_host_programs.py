"""Inside a host program: threads, and the host's own random numbers."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import gan2shape
from gan2shape.prior.open import open_prior

FEW = ("n_stages=1", "steps_scale=0.005", "steps.batch=2")


def depth(category: str) -> torch.Tensor:
    return gan2shape.reconstruct(category=category, seed=3, overrides=FEW, device="cpu").scene.depth


@pytest.mark.slow
def test_threads_find_what_one_thread_finds() -> None:
    alone = {category: depth(category) for category in ("car", "head")}
    asked = ["car", "head"] * 4
    with ThreadPoolExecutor(4) as pool:
        for category, found in zip(asked, pool.map(depth, asked), strict=True):
            torch.testing.assert_close(found, alone[category], rtol=0.0, atol=1e-5)


def test_opening_a_prior_and_a_run_leave_the_host_s_random_numbers_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    generator, _ = open_prior("head", device="cpu")
    assert generator.prior.encoder is not None
    depth("head")
    assert torch.equal(torch.get_rng_state(), before)
