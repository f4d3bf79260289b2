"""Heads that only exams show: closed enough to be seen, framed as faces, never drawn by a category."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gan2shape.core.resources import assets_dir
from gan2shape.synth import ict
from gan2shape.synth.dataset import render_items, sample_item
from gan2shape.synth.face import PICTURE_WIDTH
from gan2shape.synth.objects import REGIONS
from gan2shape.synth.registry import CATEGORIES, EXAM_ONLY
from gan2shape.synth.render import render_object

SEEDS = range(1_000_000, 1_000_006)


@pytest.fixture(scope="module")
def heads():
    return render_items(ict.SPEC, [sample_item(ict.SPEC, seed) for seed in SEEDS], 64, "plain")


def test_the_asset_is_small_and_holds_no_code():
    path = assets_dir() / "ict" / "ict.npz"
    assert path.stat().st_size < 3 * 2**20
    with np.load(path, allow_pickle=False) as arrays:
        assert all(array.dtype.kind in "fuiU" for array in arrays.values())


def test_no_category_draws_them():
    assert ict.SPEC not in CATEGORIES.values()
    assert EXAM_ONLY["face"] is ict.SPEC


def test_heads_fill_the_picture_and_stay_in_the_range_of_depth(heads):
    truth = heads.truth
    assert truth.depth[truth.hit].min() > 0.9
    assert truth.depth[truth.hit].max() < 1.1
    assert ((truth.hit.float().mean((1, 2, 3)) > 0.2) & (truth.hit.float().mean((1, 2, 3)) < 0.7)).all()
    assert (truth.normals[:, 2:][truth.hit] < 1e-6).float().mean() > 0.995


def test_both_eyes_skin_and_hair_are_told_apart(heads):
    seen = [set(region.unique().tolist()) for region in heads.truth.region]
    assert all({REGIONS.index("object"), REGIONS.index("eyes")} <= one for one in seen)
    assert any(REGIONS.index("hair") in one for one in seen)


def test_a_frontal_mean_head_is_symmetric_and_its_nose_is_nearest():
    params = ict.sample_params(np.random.default_rng(0))
    none = (0.0, 0.0)
    mean = replace(params, identity=(0.0,) * 50, expression={}, gaze_deg=none, offset=none, hair_cm=0.0)
    mesh = ict.build(mean)
    height = mesh.vertices[:, 1]
    assert height.min() == pytest.approx(-mean.fill * PICTURE_WIDTH / 2, rel=1e-3)
    assert abs(mesh.vertices[mesh.vertices[:, 2].argmin()][0]) < 0.002
    made = render_object(mesh, torch.zeros(1, 6), torch.tensor([[0.5, 0.5, 0.0, 0.0]]), 64)
    both = made.hit & made.hit.flip(-1)
    assert (made.depth - made.depth.flip(-1))[both].abs().median() < 5e-4
    nearest = (made.depth[0, 0] == made.depth.min()).nonzero()[0]
    assert abs(int(nearest[1]) - 32) <= 3


def test_identity_changes_the_shape_and_the_seed_alone_decides():
    one, other = (sample_item(ict.SPEC, seed).mesh for seed in (1_000_000, 1_000_001))
    assert np.abs(one.vertices - other.vertices).max() > 0.002
    again = sample_item(ict.SPEC, 1_000_000).mesh
    np.testing.assert_array_equal(one.vertices, again.vertices)


def test_an_eyeball_looks_where_its_gaze_points():
    front = np.array([0.0, 0.0, 1.0])
    points, triangles, normals, uv = ict.eye_front(np.zeros(3), 1.2, front, (20.0, 0.0))
    middle = np.linalg.norm(uv.reshape(-1, 2) - 0.5, axis=1).argmin()
    pupil = points[triangles.reshape(-1)[middle]]
    assert pupil[0] == pytest.approx(1.2 * np.sin(np.deg2rad(20)), abs=0.01)
    a, b, c = (points[triangles[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a) * normals.mean(1)).sum(1).min() > 0
