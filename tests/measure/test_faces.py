"""Faces of a photograph and of rendered heads: where they are, who they are, and how a photo is framed by them."""

import math

import numpy as np
import pytest
import torch

from gan2shape.measure import faces

pytest.importorskip("dlib", reason="extra `face` is not installed")
pytest.importorskip("skimage", reason="scikit-image is not installed")
if not faces.has_faces():
    pytest.skip("extra `face` is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    """The upper half of scikit-image's astronaut, [1, 3, 256, 256] in [0, 1]."""
    from skimage import data

    return torch.from_numpy(data.astronaut()[:256, 96:352].copy()).permute(2, 0, 1)[None].float() / 255


def test_a_face_is_found_where_it_is(portrait: torch.Tensor) -> None:
    face = faces.find_face(portrait)
    left, right = face.eyes
    assert left[0] < right[0]
    assert abs(left[1] - right[1]) < 10
    assert face.landmarks[4][1] > max(left[1], right[1])  # the nose is below the eyes
    assert face.box[0] < left[0] < right[0] < face.box[2]
    np.testing.assert_allclose(face.eyes.mean(0), (129, 103), atol=6)  # read off the picture


def test_a_larger_picture_has_the_same_face_at_its_own_pixels(portrait: torch.Tensor) -> None:
    small = torch.nn.functional.interpolate(portrait, scale_factor=0.5, mode="area")
    np.testing.assert_allclose(2 * faces.find_face(small).landmarks, faces.find_face(portrait).landmarks, atol=8)


def test_nothing_is_found_where_there_is_none() -> None:
    assert faces.find_face(torch.full((1, 3, 64, 64), 0.5)) is None
    assert faces.face_distance(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)) is None


def test_a_mirrored_person_is_the_same_and_a_head_is_another(portrait: torch.Tensor) -> None:
    from gan2shape.bench.exam import exam_objects

    picture = portrait * 2 - 1
    assert faces.face_distance(picture, picture) == 0
    same = faces.face_distance(picture, picture.flip(-1))
    others = [faces.face_distance(picture, item.image) for item in exam_objects("head", "val", 6)]
    found = [value for value in others if value is not None]
    assert found
    assert same < 0.4 < min(found)


def test_the_file_with_68_points_is_never_opened() -> None:
    from pathlib import Path

    assert "68" not in faces.LANDMARKS + faces.DESCRIPTOR
    assert "shape_predictor_68" not in Path(faces.__file__).read_text(encoding="utf-8")


@pytest.mark.parametrize("angle_deg", [0.0, 20.0, -135.0])
def test_a_similarity_is_recovered_from_points(angle_deg: float) -> None:
    from gan2shape.export.face_framing import similarity

    points = np.random.default_rng(0).normal(size=(5, 2))
    angle = math.radians(angle_deg)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    scale, found, shift = similarity(points, points @ (2.5 * turn).T + (3, -4))
    assert scale == pytest.approx(2.5)
    assert found == pytest.approx(angle)
    np.testing.assert_allclose(shift, (3, -4), atol=1e-9)


def test_a_tilted_face_is_framed_like_an_upright_one(portrait: torch.Tensor) -> None:
    """The picture is turned about its middle; framed, both faces lie where the usual landmarks are."""
    from pathlib import Path

    from gan2shape.export.face_framing import framed_face
    from gan2shape.export.inputs import Picture

    usual = np.array([(0.68, 0.42), (0.58, 0.42), (0.32, 0.42), (0.42, 0.42), (0.5, 0.58)])
    angle = math.radians(14)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])[None]
    grid = torch.nn.functional.affine_grid(turn, list(portrait.shape), align_corners=False)
    tilted = torch.nn.functional.grid_sample(portrait, grid, padding_mode="border", align_corners=False)
    for colour, is_turned in ((portrait, False), (tilted, True)):
        picture = Picture(colour, None, 1, (256, 256), Path("portrait.png"))
        found = framed_face(picture, faces.find_face(colour), usual, 128)
        assert found.is_turned == is_turned
        landmarks = faces.find_face(found.image / 2 + 0.5).landmarks / 128
        np.testing.assert_allclose(landmarks, usual, atol=0.06)
