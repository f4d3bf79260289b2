"""Random views and lights: moments, limits, determinism."""

import math

import torch

from gan2shape.core.config import LightPriorConfig, ViewPriorConfig
from gan2shape.shape.losses import view_spread_loss
from gan2shape.shape.sampling import sample_lights, sample_views, truncated_sd


def test_views_have_the_configured_spread_and_limit():
    config = ViewPriorConfig(yaw_sd_deg=14.0, pitch_sd_deg=6.0, limit_sd=2.0)
    views = sample_views(20_000, config, torch.Generator().manual_seed(0)) * (180 / math.pi)
    # A normal cut at 2 sd keeps sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)) = .8796 of its standard deviation.
    assert abs(truncated_sd(2.0) - 0.8796) < 1e-4
    assert abs(views[:, 1].std().item() / 14.0 - 0.8796) < 0.02
    assert abs(views[:, 0].std().item() / 6.0 - 0.8796) < 0.02
    assert views[:, 1].abs().max() <= 28.0 + 1e-3
    assert abs(views[:, 1].mean().item()) < 0.3
    assert (views[:, 2:] == 0).all()


def test_lights_stay_in_their_box_and_trade_ambient_for_diffuse():
    config = LightPriorConfig()
    base = torch.tensor([0.5, 0.6, 0.0, -0.3])
    lights = sample_lights(5_000, config, base, torch.Generator().manual_seed(0))
    ambient, diffuse, lx, ly = lights.unbind(1)
    assert config.lx[0] <= lx.min()
    assert lx.max() <= config.lx[1]
    assert config.ly[0] <= ly.min()
    assert ly.max() <= config.ly[1]
    gain = diffuse - base[1]
    torch.testing.assert_close(ambient, (base[0] + config.alpha * gain).clamp_min(0))
    assert gain.min() >= config.gain[0] - 1e-6
    assert gain.max() <= config.gain[1] + 1e-6


def test_the_same_seed_gives_the_same_numbers():
    samples = [sample_views(7, ViewPriorConfig(), torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*samples)


def test_the_spread_loss_vanishes_at_the_configured_spread_and_sees_a_smaller_one():
    config = ViewPriorConfig()
    views = sample_views(20_000, config, torch.Generator().manual_seed(1))
    assert view_spread_loss(views, config) < 1e-3
    assert abs(view_spread_loss(0.5 * views, config).item() - 2 * 0.25) < 0.02
