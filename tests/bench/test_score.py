"""Scores of a surface on shapes whose answer is known."""

import pytest
import torch

from gan2shape.bench.exam import exam_objects
from gan2shape.bench.score import score_object_depth, score_surface


@pytest.fixture(scope="module")
def item():
    return exam_objects("head", "val", 1)[0]


def test_the_truth_is_as_near_as_two_samplings_are_and_its_mean_distance_is_free(item) -> None:
    own, moved = (score_object_depth(item, item.depth + shift) for shift in (0.0, 0.02))
    assert own["chamfer_l1"] < 0.12  # 5000 samples of some .015 scene units squared
    assert own["normal_consistency"] > 0.97
    assert moved["chamfer_l1"] == pytest.approx(own["chamfer_l1"], rel=0.02)


def test_a_plane_and_a_flattened_shape_are_farther_in_this_order(item) -> None:
    half = 1 + (item.depth - 1) / 2
    scores = [score_object_depth(item, depth) for depth in (item.depth, half, torch.ones_like(item.depth))]
    assert scores[0]["chamfer_l1"] < scores[1]["chamfer_l1"] < scores[2]["chamfer_l1"]
    assert scores[0]["normal_consistency"] > scores[1]["normal_consistency"] > scores[2]["normal_consistency"]


def test_two_slanted_planes_are_apart_as_geometry_says() -> None:
    """Planes through one middle line at slopes 0 and t: the nearest point of a plane is r sin(angle) away."""
    size, slope = 64, 0.5
    at = (torch.arange(size) + 0.5) / size - 0.5
    width = 0.175  # of the image at distance 1, 10 degrees
    flat, mask = torch.ones(1, 1, size, size), torch.zeros(1, 1, size, size)
    mask[..., 16:48, 16:48] = 1.0
    tilted = flat + slope * width * at
    found = score_surface(tilted, flat, mask, 10.0)
    inside = at[17:47].abs() * width  # the scored pixels
    # from the tilted plane to the flat one: the height; and back: height * cos(angle), both means over the inside
    cosine = 1 / (1 + slope**2) ** 0.5
    expected = 100 * slope * float(inside.mean()) * (1 + cosine) / 2
    assert found["chamfer_l1"] == pytest.approx(expected, rel=0.08)
    assert found["normal_consistency"] == pytest.approx(cosine, abs=0.01)
