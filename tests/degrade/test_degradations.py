"""Degradations: closed forms, adjoints, and what they leave known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gan2shape.core.errors import UserError
from gan2shape.degrade.degradations import (
    Blur,
    ColourShift,
    Crop,
    Degradation,
    Down,
    Fourier,
    Gray,
    Identity,
    Jpeg,
    Mask,
    Noise,
    Random,
    Up,
    box_mask,
    stroke_mask,
)
from gan2shape.degrade.kernels import RESAMPLERS, gaussian_kernel, resampling_taps

SIZE = 16


def picture(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


LINEAR = [Gray(), Down(2), Down(4, "lanczos2"), Down(4, "box"), Up(2), Blur(1.5), Blur(2.0, 0.5, 0.7), Fourier(0.5, 3),
          Crop(2, 3, 8, 9), Mask(box_mask(SIZE)), Down(2) >> Up(2) >> Gray()]  # fmt: skip
ALL = [*LINEAR, Identity(), Noise(0.1), Jpeg(80), ColourShift((0.9, 1.1, 1.0), (0.1, 0.0, -0.1))]


@pytest.mark.parametrize("phi", LINEAR, ids=repr)
def test_the_gradient_is_the_adjoint(phi: Degradation) -> None:
    """<phi x, y> = <x, phi^T y> for a linear phi, where autograd gives phi^T y."""
    x = picture().requires_grad_(True)
    y = torch.randn(phi(x).shape, generator=torch.Generator().manual_seed(1))
    (phi(x) * y).sum().backward()
    torch.testing.assert_close((phi(x) * y).sum(), (x * x.grad).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("phi", [phi for phi in LINEAR if not isinstance(phi, Mask)], ids=repr)
def test_a_constant_stays_the_same_constant(phi: Degradation) -> None:
    constant = torch.full((1, 3, SIZE, SIZE), 0.37)
    torch.testing.assert_close(phi(constant), torch.full_like(phi(constant), 0.37))


@pytest.mark.parametrize("name", RESAMPLERS)
@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_resampling_kernels_have_unit_sum_and_are_symmetric(name: str, factor: int) -> None:
    taps = resampling_taps(name, factor)
    torch.testing.assert_close(taps.sum(), torch.tensor(1.0))
    torch.testing.assert_close(taps, taps.flip(0))


def test_box_shrinking_is_the_average_of_blocks() -> None:
    x = picture()
    torch.testing.assert_close(Down(4, "box")(x), torch.nn.functional.avg_pool2d(x, 4))


def test_a_linear_ramp_is_shrunk_to_the_ramp_of_the_coarse_pixel_centres() -> None:
    ramp = ((torch.arange(64) + 0.5) / 64).expand(1, 3, 64, 64)
    coarse = ((torch.arange(16) + 0.5) / 16).expand(16, 16)
    for name in RESAMPLERS:
        torch.testing.assert_close(Down(4, name)(ramp)[0, 0, 4:-4, 4:-4], coarse[4:-4, 4:-4], atol=1e-5, rtol=0)


def test_bicubic_shrinking_by_pillow_is_the_same_inside() -> None:
    """Pillow's BICUBIC uses a = -1/2 and stretches the kernel by the factor, as we do."""
    grey = torch.rand(64, 64, generator=torch.Generator().manual_seed(3))
    theirs = Image.fromarray(grey.numpy()).resize((16, 16), Image.Resampling.BICUBIC)
    ours = Down(4, "bicubic")(grey.expand(1, 3, 64, 64))[0, 0]
    inner = slice(3, -3)
    assert np.abs(ours.numpy()[inner, inner] - np.asarray(theirs)[inner, inner]).max() < 2e-3


def test_blurring_twice_adds_the_variances() -> None:
    point = torch.zeros(1, 3, 33, 33)
    point[..., 16, 16] = 1.0
    twice, once = (Blur(1.5) >> Blur(2.0))(point), Blur(2.5)(point)
    torch.testing.assert_close(twice, once, atol=2e-3, rtol=0)


def test_an_anisotropic_blur_has_its_long_axis_along_its_angle() -> None:
    kernel = gaussian_kernel(3.0, 1.0, math.radians(30))
    at = torch.arange(len(kernel)).float() - len(kernel) // 2
    y, x = torch.meshgrid(at, at, indexing="ij")
    covariance = torch.tensor([[(kernel * x * x).sum(), (kernel * x * y).sum()],
                               [(kernel * x * y).sum(), (kernel * y * y).sum()]])  # fmt: skip
    values, vectors = torch.linalg.eigh(covariance)
    assert values.sqrt().tolist() == pytest.approx([1.0, 3.0], rel=0.03)
    long = vectors[:, 1] * vectors[0, 1].sign()
    assert math.degrees(math.atan2(float(long[1]), float(long[0]))) == pytest.approx(30, abs=1)


def test_grey_of_grey_is_itself_and_weighs_green_most() -> None:
    grey = Gray()(picture())
    torch.testing.assert_close(Gray()(grey), grey)
    colours = torch.eye(3)[:, :, None, None]
    torch.testing.assert_close(Gray()(colours)[:, 0, 0, 0], torch.tensor([0.299, 0.587, 0.114]))


def test_a_mask_keeps_what_is_known_and_fills_the_rest() -> None:
    x, kept = picture(), box_mask(SIZE)
    seen = Mask(kept, fill=0.5)(x)
    inside = kept.expand_as(x) > 0.5
    assert torch.equal(seen[inside], x[inside])
    assert bool((seen[~inside] == 0.5).all())
    assert int((kept == 0).sum()) == (SIZE // 3) ** 2


def test_known_pixels_of_a_chain_are_those_that_no_lost_pixel_enters() -> None:
    kept = torch.ones(1, 1, SIZE, SIZE)
    kept[..., :8, :8] = 0.0
    whole = torch.ones(1, 1, SIZE, SIZE)
    coarse = (Mask(kept) >> Down(4, "box")).known(whole)
    assert coarse[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert torch.equal((Down(2) >> Up(2) >> Mask(kept)).known(whole), kept)


def test_noise_is_observed_but_candidates_have_none() -> None:
    x = torch.zeros(1, 3, 64, 64)
    rng = torch.Generator().manual_seed(0)
    assert float(Noise(0.3).observe(x, rng).std()) == pytest.approx(0.3, rel=0.03)
    assert torch.equal(Noise(0.3)(x), x)


def test_jpeg_changes_the_picture_but_not_the_gradient() -> None:
    x = picture().requires_grad_(True)
    coded = Jpeg(30)(x)
    coded.sum().backward()
    assert 0.01 < float((coded - x).detach().abs().mean()) < 0.6
    assert torch.equal(x.grad, torch.ones_like(x))


def test_an_undersampled_spectrum_keeps_its_share_and_stays_real() -> None:
    x = picture()
    assert torch.allclose(Fourier(1.0)(x), x, atol=1e-5)
    phi = Fourier(0.5, seed=4)
    torch.testing.assert_close(phi(phi(x)), phi(x), atol=1e-5, rtol=0)  # a projection
    lost = torch.fft.fft2(phi(x)).abs().amax((0, 1, 3)) < 1e-3
    assert int(lost.sum()) == pytest.approx(SIZE / 2, abs=2)


def test_random_degradations_repeat_with_their_seed_and_stay_in_range() -> None:
    family = Random(Blur, sd_px=(0.5, 3.0)) >> Random(Down, factor=(2, 4)) >> Random(Noise, sd=(0.0, 0.1))
    draws = [family.draw(torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert draws[3] == family.draw(torch.Generator().manual_seed(3))
    assert all(0.5 <= chain.steps[0].sd_px <= 3.0 and chain.steps[1].factor in (2, 4) for chain in draws)
    assert len({chain.steps[0].sd_px for chain in draws}) > 15
    assert {chain.steps[1].factor for chain in draws} == {2, 4}
    with pytest.raises(TypeError, match="drawn first"):
        family(picture())


def test_strokes_lose_some_of_a_picture() -> None:
    kept = stroke_mask(64, torch.Generator().manual_seed(2))
    assert 0.5 < float(kept.mean()) < 0.98


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Down(3)(picture()), "cannot be shrunk by 3"),
    (lambda: Down(2, "sinc"), "kernel 'sinc' is unknown"),
    (lambda: Down(0), "whole factor"),
])  # fmt: skip
def test_what_cannot_be_is_refused(make, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([phi for phi in ALL if not isinstance(phi, Crop | Mask)]), min_size=1, max_size=4))
def test_any_composition_is_finite_differentiable_and_says_what_is_known(steps: list[Degradation]) -> None:
    phi: Degradation = steps[0]
    for step in steps[1:]:
        phi = phi >> step
    x = picture().repeat(1, 1, 16, 16).requires_grad_(True)  # 256 pixels: four shrinkings by 4 still divide
    y = phi(x)
    y.square().sum().backward()
    assert bool(y.isfinite().all())
    assert bool(x.grad.isfinite().all())
    assert phi.known(torch.ones_like(x[:, :1])).shape == y[:, :1].shape
    assert phi.observe(x.detach(), torch.Generator().manual_seed(0)).shape == y.shape
