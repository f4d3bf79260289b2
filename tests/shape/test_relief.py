"""Relief and sideways tilt, the gauges of step 3, are restored to the start's without touching the form."""

import pytest
import torch

from gan2shape.shape.loop import new_learner
from gan2shape.shape.networks import relief, tilt_across
from gan2shape.shape.prior_shape import ellipsoid_depth
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
    networks.lateral_tilt.fill_(lean)
    with torch.no_grad():
        before = networks.depth(image)
        networks.restore_gauge(image, mask)
        after = networks.depth(image)
    torch.testing.assert_close(tilt_across(after, mask), tilt_across(start, mask), rtol=0.0, atol=1e-4)
    side = torch.linspace(-1.0, 1.0, SIZE).expand(1, 1, SIZE, SIZE)
    terms = torch.stack([(before - 1.0).flatten(), side.flatten()], 1)
    factors = torch.linalg.lstsq(terms, (after - 1.0).flatten()[:, None]).solution
    torch.testing.assert_close((terms @ factors).view_as(after), after - 1.0, rtol=0.0, atol=1e-5)
    assert float(factors[0]) > 0  # a shape that turned inside out stays so: the sign is no gauge


def test_without_lean_the_relief_is_the_starts_again():
    networks, mask = new_learner(CONFIG, 8, "cpu").networks, disc_mask()
    image = torch.zeros(1, 3, SIZE, SIZE)
    networks.start_from(ellipsoid_depth(mask, CONFIG.prior_shape, CONFIG.render.fov_deg))
    with torch.no_grad():
        wanted = relief(networks.depth(image), mask)
        networks.relief_scale.fill_(2.5)
        networks.restore_gauge(image, mask)
        torch.testing.assert_close(relief(networks.depth(image), mask), wanted, rtol=2e-2, atol=0.0)
