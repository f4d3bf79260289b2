"""Cars of the second version: real and parametric ones mixed, those held out kept apart, all headings."""

import numpy as np
import pytest
import torch

from gan2shape.core.resources import assets_dir
from gan2shape.synth import car, car2
from gan2shape.synth.dataset import render_set, sample_item
from gan2shape.synth.render import render_object
from gan2shape.synth.shape_assets import base_mesh, shape_settings

SETTINGS = shape_settings("car2")
LIGHT = torch.tensor([[0.5, 0.5, -0.3, -0.4]])


def sampled(seed: int):
    return car2.sample_params(np.random.default_rng(seed))


def test_assets_are_small_and_hold_no_code():
    path = assets_dir() / "car2" / "car2.npz"
    assert path.stat().st_size < 4 * 2**20
    with np.load(path, allow_pickle=False) as arrays:
        assert all(array.dtype.kind in "fuiU" for array in arrays.values())


def test_both_kinds_are_drawn_and_held_out_cars_never():
    drawn = [sampled(seed) for seed in range(240)]
    real = [params.base for params in drawn if isinstance(params, car2.RealCarParams)]
    assert 90 < len(real) < 150
    assert len(SETTINGS.held_out) == 2
    assert set(real) == set(SETTINGS.trained)
    assert not set(SETTINGS.trained) & set(SETTINGS.held_out)
    assert sample_item(car2.HELD_OUT, 5).params.base in SETTINGS.held_out
    assert any(isinstance(params, car.CarParams) for params in drawn)


@pytest.mark.parametrize("name", SETTINGS.trained + SETTINGS.held_out)
def test_every_family_is_longer_than_wide_and_whole(name):
    base = base_mesh("car2", name)
    width, height, length = np.ptp(base.vertices, axis=0)
    assert length > 1.4 * width
    assert height < 1.3 * width
    rng = np.random.default_rng(0)
    while (params := car2.sample_real(rng, held_out=name in SETTINGS.held_out)).base != name:
        pass
    truth = render_object(car2.build(params), torch.tensor([[0.0, np.pi / 2, 0, 0, 0, 0]]), LIGHT, 64)
    hit = truth.hit[0, 0]
    spans = (hit.cumsum(0) > 0) & (hit.flip(0).cumsum(0).flip(0) > 0)  # from the roof to the underside
    assert hit.sum() / spans.sum() > 0.93  # windows without glass may be seen through, panels not
    assert 400 < hit.sum() < 2600


def test_seeds_frame_whole_cars_under_all_headings():
    made = render_set("car2", list(range(64)))
    mask = made.truth.mask
    border = torch.cat([mask[..., 0, :], mask[..., -1, :], mask[..., :, 0], mask[..., :, -1]], -1)
    assert border.max() == 0
    azimuth = np.abs(np.rad2deg([item.azimuth_rad for item in made.items]))
    assert np.histogram(azimuth, 4, (0, 180))[0].min() >= 6
    elevation = np.rad2deg([item.elevation_rad for item in made.items])
    assert 0 <= elevation.min() < elevation.max() <= 30
