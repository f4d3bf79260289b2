"""As a library: a prior that is loaded once, threads, processes of both kinds, batches, notebooks."""

import multiprocessing
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import gan2shape
from gan2shape.core.errors import UserError
from tests.tiny_pack import FEW_STEPS, SMALL, disc_mask, write_tiny_pack

SIZE = 32
MASK = disc_mask(SIZE)
FORKED = f"""
import multiprocessing, torch
import gan2shape
torch.set_num_threads(2)
prior = gan2shape.Prior.open("car", device="cpu")
config = prior.config("instant", {SMALL!r})
mask = torch.ones(1, 1, {SIZE}, {SIZE})

def depth(seed):
    return gan2shape.reconstruct(seed=seed, mask=mask, prior=prior, config=config).scene.depth

known = depth(1)
torch.mm(*torch.ones(2, 700, 700))  # the parent has used its threads
pool = multiprocessing.get_context("fork").Pool(2)
found = pool.map_async(depth, [1, 1]).get(timeout=60)
print(max((one - known).abs().max().item() for one in found), torch.get_num_threads())
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny_pack(tmp_path_factory.mktemp("weights"), "car", SIZE).parent


@pytest.fixture
def prior(weights, monkeypatch):
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(weights))
    return gan2shape.Prior.open("car", device="cpu")


def depth_of(seed: int) -> torch.Tensor:
    """For a spawned process, which opens its own prior."""
    opened = gan2shape.Prior.open("car", device="cpu")
    return gan2shape.reconstruct(seed=seed, mask=MASK, prior=opened, config=opened.config("instant", SMALL)).scene.depth


def images(n: int, size: int = SIZE) -> torch.Tensor:
    return torch.rand(n, 3, size, size) * 2 - 1


def test_an_open_prior_gives_what_a_named_one_gives(prior) -> None:
    few = (*SMALL, *FEW_STEPS)
    given = {"mask": MASK, "preset": "smoke", "overrides": few, "seed": 3}
    ours = gan2shape.reconstruct(prior=prior, **given)
    named = gan2shape.reconstruct(category="car", device="cpu", **given)
    assert torch.equal(ours.scene.depth, named.scene.depth)
    assert ours.config == named.config
    assert (prior.category, prior.resolution, prior.device.type) == ("car", SIZE, "cpu")
    assert prior.sample(3).shape == (1, 3, SIZE, SIZE)
    assert torch.equal(prior.sample(3), named.observation.image)


def test_what_is_open_is_not_named_again(prior) -> None:
    with pytest.raises(UserError, match="open already"):
        gan2shape.reconstruct(prior=prior, category="car")
    with pytest.raises(UserError, match="exclude each other"):
        gan2shape.reconstruct(prior=prior, config=prior.config(), overrides=("seed=1",))


def test_four_threads_share_a_prior(prior) -> None:
    config = prior.config("instant", SMALL)

    def depth(seed: int) -> torch.Tensor:
        return gan2shape.reconstruct(seed=seed, mask=MASK, prior=prior, config=config).scene.depth

    alone = [depth(seed) for seed in (0, 1)]
    with ThreadPoolExecutor(4) as pool:
        for seed, found in zip([0, 1] * 6, pool.map(depth, [0, 1] * 6), strict=True):
            torch.testing.assert_close(found, alone[seed], rtol=0.0, atol=1e-6)


def test_spawned_processes_give_the_same(prior) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map_async(depth_of, [1]).get(timeout=120)
    torch.testing.assert_close(found[0], depth_of(1), rtol=0.0, atol=1e-6)


def test_forked_processes_give_the_same_after_the_parent_has_used_its_threads(prior) -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    error, n_threads = done.stdout.split()
    assert float(error) < 1e-5
    assert int(n_threads) == 2  # the parent keeps its own


def test_a_batch_is_a_tuple_of_results(prior) -> None:
    given = images(3, 48)
    made = gan2shape.reconstruct_batch(given, prior, torch.ones(3, 1, 48, 48), overrides=SMALL)
    assert [type(one) for one in made] == [gan2shape.Reconstruction] * 3
    assert made[1].scene.depth.shape == (1, 1, SIZE, SIZE)
    quick = (*SMALL, *FEW_STEPS)
    slow = gan2shape.reconstruct_batch(given[:1], prior, torch.ones(1, 1, 48, 48), preset="smoke", overrides=quick)
    assert slow[0].names == ("depth network", "stage 1")


def test_a_batch_says_which_image_is_bad(prior) -> None:
    given = images(3)
    given[2] = 0.5
    with pytest.raises(UserError, match=r"Image 2: .*flat colour"):
        gan2shape.reconstruct_batch(given, prior, MASK.expand(3, -1, -1, -1), overrides=SMALL)
    with pytest.raises(UserError, match="2 masks for 3 images"):
        gan2shape.reconstruct_batch(given, prior, MASK.expand(2, -1, -1, -1), overrides=SMALL)


def test_notebooks_show_a_result(prior) -> None:
    made = gan2shape.reconstruct_batch(images(1), prior, MASK, overrides=SMALL)[0]
    assert re.fullmatch(r'<img alt="car: input, .*" src="data:image/png;base64,[A-Za-z0-9+/=]+">', made._repr_html_())
    assert "car" in repr(made)
    assert len(repr(made)) < 200
    assert repr(prior) == "gan2shape.Prior('car', 32 x 32 pixels, cpu)"


def test_pictures_are_restored_by_name_whatever_was_imported_before(prior) -> None:
    import gan2shape.api_restore

    small = images(2, SIZE // 2)
    made = gan2shape.restore(small, task="superres:2", method="bicubic", prior=prior)
    assert gan2shape.restore is gan2shape.api_restore.restore  # no package of that name stands before it
    assert made.image.shape == (2, 3, SIZE, SIZE)
    assert made.truth is None
