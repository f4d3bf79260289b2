"""Relief and sideways tilt, the gauges of step 3, are restored to the start's without touching the form; coarse form is
restored without touching the fine one.
"""

import math

import pytest
import torch

from gan2shape.shape.ellipsoid import ellipsoid_depth
from gan2shape.shape.gauge import coarse_part, keep_fine_form, relief, restore_gauge, tilt_across
from gan2shape.shape.loop import new_learner
from tests.shape.tiny import CONFIG, SIZE, disc_mask


def test_relief_of_a_ramp_is_its_standard_deviation_and_the_outside_does_not_count():
    ramp = torch.linspace(0, 1, SIZE)[None, None, None, :].expand(1, 1, SIZE, SIZE).clone()
    assert float(relief(ramp, torch.ones_like(ramp))) == pytest.approx(float(ramp.std(unbiased=False)), rel=1e-5)
    mask = disc_mask()
    changed = ramp + 5.0 * (1 - mask)
    torch.testing.assert_close(relief(changed, mask), relief(ramp, mask))


def test_the_tilt_of_a_plane_is_its_slope_across_whatever_its_slope_upwards():
    side = torch.linspace(-1.0, 1.0, SIZE)
    plane = 1.0 + 0.03 * side[None, :] - 0.2 * side[:, None]
    assert float(tilt_across(plane[None, None], disc_mask())) == pytest.approx(0.03, abs=1e-4)


@pytest.mark.parametrize("slant_deg", [0.0, 20.0])
@pytest.mark.parametrize(("deeper", "lean"), [(3.0, 0.0), (0.4, 0.05), (-2.0, -0.05)])
def test_relief_and_lean_are_restored_and_the_form_is_kept(deeper: float, lean: float, slant_deg: float):
    networks, mask = new_learner(CONFIG, 8, "cpu").networks, disc_mask()
    image = torch.zeros(1, 3, SIZE, SIZE)
    start = ellipsoid_depth(mask, CONFIG.prior_shape, CONFIG.render.fov_deg, slant_deg)
    networks.start_from(start)
    networks.relief_scale.fill_(deeper)  # a stage that changed relief and lean
    networks.correction.copy_((lean * networks.across).expand_as(networks.correction))
    with torch.no_grad():
        before = networks.depth(image)
        restore_gauge(networks, image, mask)
        after = networks.depth(image)
    torch.testing.assert_close(tilt_across(after, mask), tilt_across(start, mask), rtol=0.0, atol=1e-4)
    side = torch.linspace(-1.0, 1.0, SIZE).expand(1, 1, SIZE, SIZE)
    terms = torch.stack([(before - 1.0).flatten(), side.flatten()], 1)
    factors = torch.linalg.lstsq(terms, (after - 1.0).flatten()[:, None]).solution
    torch.testing.assert_close((terms @ factors).view_as(after), after - 1.0, rtol=0.0, atol=1e-5)
    assert float(factors[0]) > 0  # a shape that turned inside out stays so: the sign is no gauge
    upright = [relief(depth - tilt_across(depth, mask) * side, mask) for depth in (after, start)]
    torch.testing.assert_close(upright[0], upright[1], rtol=2e-2, atol=0.0)


def test_without_lean_the_relief_is_the_starts_again():
    networks, mask = new_learner(CONFIG, 8, "cpu").networks, disc_mask()
    image = torch.zeros(1, 3, SIZE, SIZE)
    networks.start_from(ellipsoid_depth(mask, CONFIG.prior_shape, CONFIG.render.fov_deg))
    with torch.no_grad():
        wanted = relief(networks.depth(image), mask)
        networks.relief_scale.fill_(2.5)
        restore_gauge(networks, image, mask)
        torch.testing.assert_close(relief(networks.depth(image), mask), wanted, rtol=2e-2, atol=0.0)


def waves(period_px: float) -> torch.Tensor:
    """A cosine across the image, [1, 1, S, S]."""
    return torch.cos(2 * math.pi * torch.arange(SIZE) / period_px).expand(1, 1, SIZE, SIZE).clone()


def test_a_mean_inside_the_mask_does_not_see_the_outside():
    mask = disc_mask()
    values = torch.where(mask > 0, 0.3, 7.0)
    inside = coarse_part(values, mask, 3.0)[mask > 0]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.3))
    assert float(coarse_part(values, mask, 1.0)[0, 0, 0, 0]) == 0.0


@pytest.mark.parametrize(("period_px", "sd_px"), [(8.0, 2.0), (16.0, 2.0), (16.0, 1.0)])
def test_a_wave_is_damped_as_a_gaussian_damps_it(period_px: float, sd_px: float):
    wave = waves(period_px)
    damped = coarse_part(wave, torch.ones_like(wave), sd_px)[..., SIZE // 2]  # far from the borders
    factor = math.exp(-2 * (math.pi * sd_px / period_px) ** 2)
    torch.testing.assert_close(damped, factor * wave[..., SIZE // 2], rtol=0.0, atol=5e-3)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_coarse_form_is_the_starts_again_and_a_share_of_the_fine_stays(share: float):
    networks, mask = new_learner(CONFIG, 8, "cpu").networks, disc_mask()
    image = torch.zeros(1, 3, SIZE, SIZE)
    networks.start_from(ellipsoid_depth(mask, CONFIG.prior_shape, CONFIG.render.fov_deg))
    ripple, bend = 0.01 * waves(4.0), 0.02 * waves(64.0)
    with torch.no_grad():
        networks.depth_net.body[-1].weight.zero_()  # the network adds nothing of its own
        networks.correction.copy_(ripple + bend)
        keep_fine_form(networks, image, mask, 0.0625, share)
        change = (networks.depth(image) - networks.start)[mask > 0]
    wanted = share * ripple[mask > 0]
    assert float((change - wanted).abs().max()) < 0.2 * 0.02  # the bend was .02 high
    assert float(change.std()) == pytest.approx(float(wanted.std()), rel=0.1)
