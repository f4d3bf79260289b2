"""Relief is the spread of depth inside the object, and is restored to the start's without touching the form."""

import pytest
import torch

from gan2shape.shape.loop import new_learner
from gan2shape.shape.networks import relief
from gan2shape.shape.prior_shape import ellipsoid_depth
from tests.shape.tiny import CONFIG, SIZE, disc_mask


def test_relief_of_a_ramp_is_its_standard_deviation_and_the_outside_does_not_count():
    ramp = torch.linspace(0, 1, SIZE)[None, None, None, :].expand(1, 1, SIZE, SIZE).clone()
    assert float(relief(ramp, torch.ones_like(ramp))) == pytest.approx(float(ramp.std(unbiased=False)), rel=1e-5)
    mask = disc_mask()
    changed = ramp + 5.0 * (1 - mask)
    torch.testing.assert_close(relief(changed, mask), relief(ramp, mask))


@pytest.mark.parametrize("deeper", [3.0, 0.4, -2.0])
def test_relief_is_restored_and_the_form_is_kept(deeper: float):
    networks, mask = new_learner(CONFIG, 8, "cpu").networks, disc_mask()
    image = torch.zeros(1, 3, SIZE, SIZE)
    start = ellipsoid_depth(mask, CONFIG.prior_shape, CONFIG.render.fov_deg)
    networks.start_from(start)
    wanted = relief(start, mask)
    networks.relief_scale.fill_(deeper)  # a stage that changed the relief
    with torch.no_grad():
        before = networks.depth(image)
        networks.restore_relief(image, mask)
        after = networks.depth(image)
    torch.testing.assert_close(relief(after, mask), wanted, rtol=1e-3, atol=0.0)
    ratio = float(((after - 1.0) * (before - 1.0)).sum() / (before - 1.0).square().sum())
    torch.testing.assert_close(after - 1.0, ratio * (before - 1.0), rtol=0.0, atol=1e-5)
    assert ratio > 0  # a shape that turned inside out stays so: the sign is no gauge
