"""Features that are kept as components: the leading ones, and no loss where they are all there is."""

import torch
from torch import nn

from gan2shape.build.feature_samples import FeatureSamples, Level, for_features, in_basis, leading_components
from gan2shape.build.foreground import Axes, ForegroundConfig, learn_masks, projected, stacked
from gan2shape.nn.mask_head import MaskHead, MaskHeadConfig
from tests.build.test_foreground import QUICK, DiscSynthesis, disc_generator, discs  # noqa: F401  (a fixture)

N_WIDE = 150  # channels, more than are kept


def low_rank(n: int, rank: int, size: int) -> torch.Tensor:
    """Maps of N_WIDE channels that are mixtures of a few, [n, N_WIDE, size, size]."""
    rng = torch.Generator().manual_seed(0)
    few, mixing = torch.randn(n, rank, size, size, generator=rng), torch.randn(rank, N_WIDE, generator=rng)
    return torch.einsum("nrhw,rc->nchw", few, mixing)


def test_components_hold_all_of_what_has_so_many_dimensions():
    maps = low_rank(3, 5, 8)
    basis = leading_components(maps, 5)
    kept = in_basis(maps, basis)
    assert kept.shape[1] == 5
    known = torch.linalg.lstsq(kept.movedim(1, -1).flatten(0, 2), maps.movedim(1, -1).flatten(0, 2)).residuals
    assert float(known.sum()) < 1e-5 * float(maps.square().sum())
    assert leading_components(maps, N_WIDE) is None
    assert in_basis(maps, None) is maps


def test_the_largest_component_is_kept():
    maps = torch.randn(4, 6, 16, 16)
    maps[:, 1] = maps[:, 0] + 0.01 * maps[:, 1]  # two channels that are one: twice the variance, whatever their scale
    maps[:, :2] *= 100
    basis = leading_components(maps, 1)
    assert float((basis[:2, 0] * 100).square().sum() / (basis[:, 0] * maps.std((0, 2, 3))).square().sum()) > 0.9


def test_a_head_on_components_is_a_head_on_features():
    torch.manual_seed(0)
    features = [low_rank(2, 20, 8), torch.randn(2, 5, 16, 16)]
    bases = [leading_components(maps, 12) for maps in features]
    kept = [in_basis(maps, basis) for maps, basis in zip(features, bases, strict=True)]
    head = MaskHead(MaskHeadConfig((12, 5), size=16))
    levels = tuple(Level(*one) for one in zip(kept, (N_WIDE, 5), bases, strict=True))
    whole = for_features(head, FeatureSamples(levels, torch.zeros(2, 3, 16, 16)))
    assert whole.config.feature_channels == (N_WIDE, 5)
    torch.testing.assert_close(whole(features), head(kept), atol=1e-5, rtol=1e-4)


def test_pixels_are_projected_as_if_all_channels_were_enlarged():
    torch.manual_seed(0)
    levels = tuple(Level(torch.randn(3, n, size, size).half(), n) for n, size in ((6, 4), (5, 8)))
    samples, config = FeatureSamples(levels, torch.randn(3, 3, 8, 8).half()), ForegroundConfig(grid=8, batch=2)
    axes = Axes(torch.randn(14), torch.randn(14, 4))
    expected = (stacked(samples, slice(None), 8) - axes.mean) @ axes.axes
    torch.testing.assert_close(projected(samples, axes, config), expected, atol=1e-4, rtol=1e-4)


class WideSynthesis(nn.Module):
    """The disc's features mixed into many channels."""

    def forward(self, w, noise="const", return_features=False):
        image, features = DiscSynthesis()(w, noise, return_features=True)
        mixing = torch.randn(3, N_WIDE, generator=torch.Generator().manual_seed(0))
        wide = [torch.einsum("nrhw,rc->nchw", maps, mixing) for maps in features]
        wide = [maps + 0.05 * torch.randn(maps.shape, generator=torch.Generator().manual_seed(1)) for maps in wide]
        return (image, wide) if return_features else image


def test_the_object_is_found_in_wide_features_too(disc_generator):  # noqa: F811
    disc_generator.synthesis = WideSynthesis()
    learnt = learn_masks(disc_generator, torch.zeros(8), QUICK)
    assert learnt.head.config.feature_channels == (N_WIDE, N_WIDE)
    with torch.no_grad():
        w = disc_generator.mapping(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))
        found = learnt.head(disc_generator.synthesis(w, return_features=True)[1]) > 0.5
    true = discs(w) > 0.5
    assert float((found & true).sum() / (found | true).sum()) > 0.8
    assert learnt.agreement > 0.8
    assert learnt.images.shape == (QUICK.n_fresh, 3, 32, 32)
    assert learnt.masks.shape == (QUICK.n_fresh, 1, 32, 32)
