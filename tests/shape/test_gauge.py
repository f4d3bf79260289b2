"""Depth scale and sideways tilt, the gauges of step 3, are restored to the initial ones without touching the form;
coarse form is restored without touching the fine one.
"""

import math
from dataclasses import replace

import pytest
import torch

from gan2shape.shape.ellipsoid import ellipsoid_depth
from gan2shape.shape.gauge import (
    DepthBase,
    across,
    depth_base,
    depth_from_raw,
    depth_sd,
    keep_high_pass,
    low_pass,
    restore_gauge,
    sideways_tilt,
)
from tests.shape.tiny import CONFIG, SIZE, disc_mask

HALF_RANGE = CONFIG.render.depth_half_range
NOTHING = torch.zeros(1, 1, SIZE, SIZE)  # what a network adds that has learnt nothing


def base_of(slant_deg: float = 0.0) -> DepthBase:
    """An ellipsoid on a disc."""
    return depth_base(ellipsoid_depth(disc_mask(), CONFIG.initial, CONFIG.render.fov_deg, slant_deg), HALF_RANGE)


def depth_of(base: DepthBase) -> torch.Tensor:
    return depth_from_raw(NOTHING, base, HALF_RANGE)


def test_depth_sd_of_a_ramp_is_its_standard_deviation_and_the_outside_does_not_count():
    ramp = torch.linspace(0, 1, SIZE)[None, None, None, :].expand(1, 1, SIZE, SIZE).clone()
    assert float(depth_sd(ramp, torch.ones_like(ramp))) == pytest.approx(float(ramp.std(unbiased=False)), rel=1e-5)
    mask = disc_mask()
    changed = ramp + 5.0 * (1 - mask)
    torch.testing.assert_close(depth_sd(changed, mask), depth_sd(ramp, mask))


def test_the_tilt_of_a_plane_is_its_slope_across_whatever_its_slope_upwards():
    at = torch.linspace(-1.0, 1.0, SIZE)
    plane = 1.0 + 0.03 * at[None, :] - 0.2 * at[:, None]
    assert float(sideways_tilt(plane[None, None], disc_mask())) == pytest.approx(0.03, abs=1e-4)


@pytest.mark.parametrize("slant_deg", [0.0, 20.0])
@pytest.mark.parametrize(("deeper", "tilt"), [(3.0, 0.0), (0.4, 0.05), (-2.0, -0.05)])
def test_depth_scale_and_tilt_are_restored_and_the_form_is_kept(deeper: float, tilt: float, slant_deg: float):
    base, mask = base_of(slant_deg), disc_mask()
    initial = base.initial
    changed = replace(base, scale=base.scale * deeper, correction=(tilt * across(initial)).expand_as(initial))
    before = depth_of(changed)  # a stage that changed depth scale and tilt
    after = depth_of(restore_gauge(changed, before, mask))
    torch.testing.assert_close(sideways_tilt(after, mask), sideways_tilt(initial, mask), rtol=0.0, atol=1e-4)
    ramp = torch.linspace(-1.0, 1.0, SIZE).expand(1, 1, SIZE, SIZE)
    terms = torch.stack([(before - 1.0).flatten(), ramp.flatten()], 1)
    factors = torch.linalg.lstsq(terms, (after - 1.0).flatten()[:, None]).solution
    torch.testing.assert_close((terms @ factors).view_as(after), after - 1.0, rtol=0.0, atol=1e-5)
    assert float(factors[0]) > 0  # a shape that turned inside out stays so: the sign is no gauge
    upright = [depth_sd(depth - sideways_tilt(depth, mask) * ramp, mask) for depth in (after, initial)]
    torch.testing.assert_close(upright[0], upright[1], rtol=2e-2, atol=0.0)


def test_without_tilt_the_depth_scale_is_the_initial_one_again():
    base, mask = base_of(), disc_mask()
    wanted = depth_sd(depth_of(base), mask)
    deeper = replace(base, scale=base.scale * 2.5)
    again = restore_gauge(deeper, depth_of(deeper), mask)
    torch.testing.assert_close(depth_sd(depth_of(again), mask), wanted, rtol=2e-2, atol=0.0)


def waves(period_px: float) -> torch.Tensor:
    """A cosine across the image, [1, 1, S, S]."""
    return torch.cos(2 * math.pi * torch.arange(SIZE) / period_px).expand(1, 1, SIZE, SIZE).clone()


def test_a_mean_inside_the_mask_does_not_see_the_outside():
    mask = disc_mask()
    values = torch.where(mask > 0, 0.3, 7.0)
    inside = low_pass(values, mask, 3.0)[mask > 0]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.3))
    assert float(low_pass(values, mask, 1.0)[0, 0, 0, 0]) == 0.0


@pytest.mark.parametrize(("period_px", "sd_px"), [(8.0, 2.0), (16.0, 2.0), (16.0, 1.0)])
def test_a_wave_is_damped_as_a_gaussian_damps_it(period_px: float, sd_px: float):
    wave = waves(period_px)
    damped = low_pass(wave, torch.ones_like(wave), sd_px)[..., SIZE // 2]  # far from the borders
    factor = math.exp(-2 * (math.pi * sd_px / period_px) ** 2)
    torch.testing.assert_close(damped, factor * wave[..., SIZE // 2], rtol=0.0, atol=5e-3)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_coarse_form_is_the_initial_one_again_and_a_share_of_the_fine_stays(share: float):
    base, mask = base_of(), disc_mask()
    ripple, bend = 0.01 * waves(4.0), 0.02 * waves(64.0)
    changed = replace(base, correction=ripple + bend)
    kept = keep_high_pass(changed, depth_of(changed), mask, 0.0625, share)
    change = (depth_of(kept) - base.initial)[mask > 0]
    wanted = share * ripple[mask > 0]
    assert float((change - wanted).abs().max()) < 0.2 * 0.02  # the bend was .02 high
    assert float(change.std()) == pytest.approx(float(wanted.std()), rel=0.1)
