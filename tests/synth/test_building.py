"""Buildings: families of real ones, those held out kept apart, deformed within bounds, upright, in the picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gan2shape.core.resources import assets_dir
from gan2shape.synth import building
from gan2shape.synth.dataset import render_set, sample_item
from gan2shape.synth.facade import facade_picture, sample_facade
from gan2shape.synth.family import Deformation
from gan2shape.synth.render import render_object, turntable_view
from gan2shape.synth.repaint import materials, repainted
from gan2shape.synth.shape_assets import base_mesh, shape_settings

SETTINGS = shape_settings("building")
LIGHT = torch.tensor([[0.5, 0.5, -0.3, -0.4]])


def sampled(seed: int, held_out: bool = False) -> building.BuildingParams:
    return building.sample_params(np.random.default_rng(seed), held_out)


def as_it_is(name: str) -> building.BuildingParams:
    """A base without deformation or new colours."""
    colours = replace(sampled(0).colours, clusters=tuple((None,) * 6 for _ in base_mesh("building", name).textures))
    none = (0.0, 0.0, 0.0)
    form = Deformation((1.0, 1.0, 1.0), none, none, (0.0, 0.0), -1.0, False, 0.12)
    return building.BuildingParams(name, form, replace(colours, gain=(1.0, 1.0, 1.0)), None)


def test_assets_are_small_and_hold_no_code():
    path = assets_dir() / "building" / "building.npz"
    assert path.stat().st_size < 3 * 2**20
    with np.load(path, allow_pickle=False) as arrays:
        assert all(array.dtype.kind in "fuiU" for array in arrays.values())


def test_held_out_buildings_and_their_twins_are_never_drawn_for_training():
    assert {"gazebo_salon", "gazebo_thrift_shop"} <= set(SETTINGS.held_out)
    assert len(SETTINGS.held_out) == 4
    assert len(SETTINGS.trained) == 15
    assert not set(SETTINGS.held_out) & set(SETTINGS.trained)
    assert {sampled(seed).base for seed in range(150)} == set(SETTINGS.trained)
    assert {sampled(seed, held_out=True).base for seed in range(40)} == set(SETTINGS.held_out)
    assert sample_item(building.HELD_OUT, 3).params.base in SETTINGS.held_out


@pytest.mark.parametrize("name", SETTINGS.trained)
def test_every_family_shows_a_building_that_stands_upright(name):
    mesh = building.build(as_it_is(name))
    truth = render_object(mesh, torch.zeros(1, 6), LIGHT, 64)
    hit = truth.hit[0, 0]
    rows = hit.any(1).nonzero().flatten()
    lower, upper = hit[rows[-1] - 1].sum(), hit[rows[0] + 1].sum()
    assert lower > 0.9 * upper  # hardly ever wider above
    assert hit.sum() > 300
    assert truth.normals[0, 2][hit].max() <= 1e-6 + 1
    top = render_object(mesh, turntable_view(0.0, 1.2)[None], LIGHT, 64)
    facing_up = (top.normals[0, 1] < -0.5)[top.hit[0, 0]].float().mean()
    assert facing_up > 0.0 or top.normals[0, 2][top.hit[0, 0]].mean() < -0.4


def test_deformation_is_monotone_and_fills_what_it_should():
    axis = np.linspace(-1, 1, 101)
    diagonal = np.stack([axis] * 3, 1)
    for seed in range(60):
        form = replace(sampled(seed).form, taper=(0.0, 0.0), mirrored=False)
        points = form.of(diagonal)
        assert (np.diff(points, axis=0) > 0).all()
        size = np.ptp(points, axis=0)
        assert size.max() <= form.longest_side + 1e-9
        np.testing.assert_allclose(points.max(0) + points.min(0), 0, atol=1e-9)


def test_a_mirrored_building_is_the_mirror_image():
    params = as_it_is("gazebo_school")
    one, other = (building.build(replace(params, form=replace(params.form, mirrored=flag))) for flag in (False, True))
    light = torch.tensor([[0.5, 0.5, 0.0, -0.4]])
    views = torch.stack([turntable_view(0.5, 0.2), turntable_view(-0.5, 0.2)])
    left, right = (render_object(m, v[None], light, 64) for m, v in zip((one, other), views, strict=True))
    assert (left.depth - right.depth.flip(-1)).abs().quantile(0.98) < 1e-4
    assert (left.image - right.image.flip(-1)).abs().mean() < 0.01


def test_clusters_change_and_the_rest_of_the_picture_stays():
    base = base_mesh("building", "gazebo_law_office")
    colours = as_it_is("gazebo_law_office").colours
    new = ((0.2, 0.3, 0.6), *(None,) * 5)
    before, after = (repainted(base, replace(colours, clusters=c))[0] for c in (colours.clusters, (new,)))
    changed = (before != after).any(-1)
    assert not changed[base.labels[0] != 0].any()
    assert np.abs(after[base.labels[0] == 0].mean(0) / 255 - new[0]).max() < 0.08
    assert materials(np.array([[0.2, 0.2, 0.2], [0.7, 0.7, 0.7], [0.7, 0.3, 0.2]])).tolist() == [0, 0, 2]


def test_a_facade_has_rows_of_windows_and_covers_plain_walls():
    facade = replace(sample_facade(np.random.default_rng(0), building.WALLS), window=(0.6, 0.6), bricks=0.0)
    picture = facade_picture(facade).astype(float) / 255
    glass = np.abs(picture - np.array(facade.wall_rgb)).sum(-1) > 0.02
    assert 0.25 < glass.mean() < 0.75
    for seed in range(200):
        params = sampled(seed)
        if params.base in SETTINGS.plain:
            mesh = building.build(params)
            assert (mesh.face_texture >= 0).mean() > 0.3
            break


def test_seeds_frame_whole_buildings():
    made = render_set("building", list(range(48)))
    mask, depth = made.truth.mask, made.truth.depth[made.truth.hit]
    border = torch.cat([mask[..., 0, :], mask[..., -1, :], mask[..., :, 0], mask[..., :, -1]], -1)
    assert border.max() == 0
    assert (mask.mean((1, 2, 3)) > 0.03).all()
    assert depth.min() > 0.9
    assert depth.max() < 1.1
    azimuth = np.rad2deg([item.azimuth_rad for item in made.items])
    elevation = np.rad2deg([item.elevation_rad for item in made.items])
    assert 45 < np.abs(azimuth).max() <= 60
    assert 0 <= elevation.min() < 5
    assert 20 < elevation.max() <= 25
