"""Object masks without labels: on features whose object is known, and their parts in closed form."""

import pytest
import torch
from torch import nn

from gan2shape.build import foreground
from gan2shape.build.foreground import (
    ForegroundConfig,
    border_band,
    is_object,
    k_means,
    learn_masks,
    two_groups,
)
from gan2shape.nn.generator import Generator, GeneratorConfig

QUICK = ForegroundConfig(
    n_samples=16, n_fresh=8, batch=4, grid=32, n_clusters=(4, 6, 8), n_pixels=2000, head_rounds=2, head_steps=100
)


class DiscSynthesis(nn.Module):
    """A disc of its own texture over another texture, with features as a generator's, without training."""

    def forward(self, w, noise="const", return_features=False):
        masks = discs(w)
        rng = torch.Generator().manual_seed(int(1e4 * float(w.abs().sum())) % 2**31)
        features = []
        for resolution in (16, 32):
            inside = nn.functional.adaptive_avg_pool2d(masks, resolution)
            colour = torch.cat([inside, 1 - inside, inside * w[:, 2, None, None, None]], 1)
            features.append(colour + 0.1 * torch.randn(colour.shape, generator=rng))
        return (2 * masks.expand(-1, 3, -1, -1) - 1, features) if return_features else masks


def discs(w: torch.Tensor) -> torch.Tensor:
    """Discs of 10 pixels radius about centres that w moves, [B, 1, 32, 32]."""
    at = torch.arange(32) + 0.5
    x, y = (16 + 3 * torch.tanh(w[:, i, None, None, None]) for i in (0, 1))
    return ((at - x) ** 2 + (at[:, None] - y) ** 2 < 100).float()


@pytest.fixture
def disc_generator() -> Generator:
    generator = Generator(GeneratorConfig(resolution=32, channels=(2, 2, 2, 2), z_dim=8, w_dim=8, n_mapping=2))
    generator.synthesis = DiscSynthesis()
    return generator.eval().requires_grad_(False)


def test_the_object_is_found_without_a_label(disc_generator):
    learnt = learn_masks(disc_generator, torch.zeros(8), QUICK)
    with torch.no_grad():
        w = disc_generator.mapping(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))
        found = learnt.head(disc_generator.features(w)) > 0.5
    true = discs(w) > 0.5
    assert float((found & true).sum() / (found | true).sum()) > 0.95  # .84 with outlines as features tell them
    assert learnt.object_share == pytest.approx(100 * 3.14159 / 1024, rel=0.25)
    assert learnt.agreement > 0.8


def test_the_same_seed_gives_the_same_head(disc_generator):
    before = torch.get_rng_state()
    first, second = (learn_masks(disc_generator, torch.zeros(8), QUICK, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers stay"
    assert all(torch.equal(a, b) for a, b in zip(first.head.parameters(), second.head.parameters(), strict=True))


def test_two_groups_are_divided_where_they_are():
    values, weights = torch.tensor([0.0, 5.0, 0.2, 5.5, 0.1]), torch.tensor([0.1, 0.4, 0.1, 0.3, 0.1])
    assert 0.2 < two_groups(values, weights) < 5.0
    assert two_groups(values, weights) == pytest.approx(two_groups(values.flip(0), weights.flip(0)))


def test_the_cluster_that_avoids_the_border_is_the_object():
    labels = torch.zeros(3, 32, 32, dtype=torch.int64)
    labels[:, 8:24, 8:24] = 1
    labels[:, 2:6, 2:30] = 2  # background all the same: near the border, but not on the band's every pixel
    labels[:, :2] = 2
    assert is_object(labels, 4, QUICK).tolist() == [False, True, False, False]  # an empty cluster is no object


def test_the_band_has_the_given_width():
    band = border_band(32, 1 / 16)
    assert band.sum() == 32 * 32 - 28 * 28
    assert band[1, 16]
    assert not band[2, 16]


def test_k_means_finds_points_that_lie_together():
    rng = torch.Generator().manual_seed(0)
    true = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = (true[:, None] + 0.1 * torch.randn(3, 50, 2, generator=rng)).flatten(0, 1)
    centres = k_means(points, 3, 10, rng)
    assert torch.cdist(true, centres).amin(1).max() < 0.1


def test_outlines_and_disputes_do_not_teach():
    votes = torch.zeros(1, 1, 16, 16)
    votes[..., 4:12, 4:12] = 1.0
    votes[..., 7, 7] = 0.6
    weights = foreground.teaching(votes, QUICK)
    assert weights[0, 0, 7, 7] == 0  # disputed
    assert weights[0, 0, 4:7, 8].sum() == weights[0, 0, 3, 8] == 0  # three pixels inside the outline, one outside
    assert weights[0, 0, 8, 8] == weights[0, 0, 2, 8] == 1
