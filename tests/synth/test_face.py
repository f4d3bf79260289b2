"""Faces: the model is sound, seeds are whole, eyes sit in their sockets, hair on the head, faces in the picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gan2shape.core.resources import assets_dir
from gan2shape.synth import face
from gan2shape.synth.dataset import render_set, sample_item
from gan2shape.synth.face_assets import face_assets, hair_style
from gan2shape.synth.face_form import eye_surface, frame_of, head_surface, morph
from gan2shape.synth.face_params import FaceParams, macro_weights, sample_params, shape_axes
from gan2shape.synth.objects import REGIONS
from gan2shape.synth.render import render_object, turntable_view

LIGHT = torch.tensor([[0.5, 0.5, -0.3, -0.4]])
FRONT = torch.zeros(1, 6)


def sampled(seed: int) -> FaceParams:
    return sample_params(np.random.default_rng(seed))


def plain(**changes) -> FaceParams:
    """The young, hairless face between all ancestries and sexes, looking straight ahead."""
    third = dict.fromkeys(("african", "asian", "caucasian"), 1 / 3)
    base = replace(
        sampled(0), ancestry=third, male=0.5, age={"child": 0.0, "young": 1.0, "old": 0.0}, targets={}, hair="",
        scalp=0.0, beard=("", 0.0, 0.0), gaze_deg=(0.0, 0.0), fill=0.72, offset=(0.0, 0.0), shoulders=True,
        lipstick=0.0,
    )  # fmt: skip
    return replace(base, **changes)


def open_edges(faces: np.ndarray) -> int:
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    return int((np.unique(edges, axis=0, return_counts=True)[1] == 1).sum())


def test_assets_are_small_and_hold_no_code():
    path = assets_dir() / "face" / "face.npz"
    assert path.stat().st_size < 6 * 2**20
    with np.load(path, allow_pickle=False) as arrays:
        assert all(array.dtype.kind in "fuiU" for array in arrays.values())


def test_weights_sum_to_one_and_targets_exist():
    for seed in range(50):
        params = sampled(seed)
        assert sum(macro_weights(params).values()) == pytest.approx(1, abs=1e-3)
        assert sum(params.skins.values()) == pytest.approx(1, abs=1e-3)
        assert set(params.targets) | set(macro_weights(params)) <= set(face_assets().targets)
        assert all(0 < weight <= 1 for weight in params.targets.values())


def test_both_ends_and_both_sides_of_every_axis_are_sampled():
    used = set().union(*(sampled(seed).targets for seed in range(80)))
    wanted = {end.replace("*", side) for _, ends, _ in shape_axes() for end in ends for side in ("l", "r")}
    assert len(shape_axes()) > 80
    assert wanted <= used


def test_a_cut_neck_closes_the_head_and_faces_look_outwards():
    params = plain(shoulders=False, cut_dm=0.05)
    points = morph(params)
    surface = head_surface(points, np.zeros(len(points)), params, frame_of(points))
    assert open_edges(surface.faces) == 0
    a, b, c = (surface.points[surface.faces[:, k]].astype(float) for k in range(3))
    volume = np.einsum("fi,fi->", a, np.cross(b, c)) / 6
    assert 2.5 < volume < 6.0  # litres: a head
    across = np.cross(b - a, c - a)
    agree = np.einsum("fi,fi->f", across, surface.corner_normals.mean(1)) > 0
    assert agree.mean() > 0.99


@pytest.mark.parametrize("side", [0, 1])
def test_an_eyeball_looks_along_its_gaze(side):
    """The middle of an eye's texture, the pupil, moves by the gaze on a ball of the eye's radius."""
    points = morph(plain())

    def pupil(gaze):
        eye = eye_surface(points, side, gaze)
        away = np.linalg.norm(eye.corner_uv - 0.5, axis=-1)
        weight = np.exp(-((away / 0.15) ** 2))
        corners = eye.points[eye.faces]
        return (weight[..., None] * corners).sum((0, 1)) / weight.sum()

    ahead, left, up = pupil((0.0, 0.0)), pupil((20.0, 0.0)), pupil((0.0, 15.0))
    assert left[0] - ahead[0] == pytest.approx(0.145 * np.sin(np.deg2rad(20)), rel=0.35)
    assert up[1] - ahead[1] == pytest.approx(0.145 * np.sin(np.deg2rad(15)), rel=0.35)


def test_eyes_are_seen_in_their_sockets_at_the_middle_of_the_face():
    truth = render_object(face.build(plain()), FRONT, LIGHT, 192)
    seen = (truth.region[0, 0] == REGIONS.index("eyes")).nonzero().float()
    left, right = seen[seen[:, 1] < 96], seen[seen[:, 1] >= 96]
    assert abs(len(left) / len(right) - 1) < 0.1
    assert 60 < len(left) < 500  # lids cover most of the ball
    rows = (truth.region[0, 0] == REGIONS.index("object")).any(1).nonzero()
    crown = rows.min().item()
    chin = crown + 0.72 * 192
    assert (seen[:, 0].mean() - crown) / (chin - crown) == pytest.approx(0.52, abs=0.06)
    gap = right[:, 1].mean() - left[:, 1].mean()
    assert gap.item() / (0.72 * 192) == pytest.approx(0.62 / 2.28, abs=0.04)  # pupils 6.2 cm apart, head 22.8 cm tall


def test_seeds_frame_faces_as_photographs_do():
    made = render_set("face", list(range(40)))
    mask, depth = made.truth.mask, made.truth.depth[made.truth.hit]
    leaves = {
        "top": (mask[..., 0, :].amax(-1) > 0).float().mean(),
        "bottom": (mask[..., -1, :].amax(-1) > 0).float().mean(),
        "centre": (mask[..., 28:36, 28:36].amin((-1, -2)) > 0.99).float().mean(),
    }
    assert leaves["top"] < 0.15
    assert 0.5 < leaves["bottom"] < 0.95
    assert leaves["centre"] == 1
    assert 0.25 < mask.mean() < 0.6
    assert depth.min() > 0.9
    assert depth.quantile(0.999) < 1.1
    regions = torch.bincount(made.truth.region.flatten().long(), minlength=len(REGIONS))
    assert (regions > 0).all()
    assert torch.equal(made.truth.region[:, 0] > 0, made.truth.hit[:, 0])


def test_the_object_comes_first_and_alone_fixes_the_mesh():
    item = sample_item(face.SPEC, 7)
    again = face.build(item.params)
    np.testing.assert_array_equal(item.mesh.vertices, again.vertices)
    for one, other in zip(item.mesh.textures, again.textures, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(item.mesh.vertices[:50], sample_item(face.SPEC, 8).mesh.vertices[:50])


@pytest.mark.parametrize("name", face_assets().hair)
def test_hair_sits_on_the_head(name):
    mesh = face.build(plain(hair=name))
    truth = render_object(mesh, turntable_view(0.4, 0.1)[None], LIGHT, 96)
    region = truth.region[0, 0]
    hair = region == REGIONS.index("hair")
    assert hair.sum() > 150
    top = hair.any(1).nonzero().min()
    assert top <= (region > 0).any(1).nonzero().min() + 1  # nothing of the scalp stands out above
    assert 0 <= hair_style(name).cut_out.mean() <= 1


def test_a_beard_thickens_the_chin_and_a_smile_lifts_the_corners_of_the_mouth():
    bare, bearded = (face.build(plain(beard=beard)) for beard in (("", 0.0, 0.0), ("full", 0.9, 0.1)))
    forwards = bare.vertices[:, 2] - bearded.vertices[:, 2]
    assert forwards.max() > 0.002
    assert np.abs(forwards[bare.vertices[:, 1] < -0.02]).max() < 1e-6  # above the cheeks nothing moves
    smile = morph(plain(targets={"mouth/mouth-angles-up": 1.0})) - morph(plain())
    assert 0.03 < smile[:, 1].max() < 0.1
