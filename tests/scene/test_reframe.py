"""Squares of pictures as pictures of their own: spheres off the axis, points under views, round trips."""

import math

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.scene.camera import focal_px, intrinsics, move, project, rotation
from gan2shape.scene.reframe import (
    axis_slopes,
    boxes,
    reframed,
    reframed_depth,
    reframed_view,
    squares_around,
    turns,
    zooms,
)

SIZE, FOV_DEG = 64, 10.0
ANYWHERE = torch.tensor([[30.0, 6.0, 32.0], [-4.0, 20.0, 40.0], [2.0, 3.0, 70.0]])


def sphere(centre_px: tuple[float, float], radius_px: float) -> tuple[Float[Tensor, "1 1 S S"], Tensor]:
    """(depth, where the sphere is seen) of a sphere at distance 1 whose middle is seen at `centre_px`; exact."""
    focal = focal_px(SIZE, FOV_DEG)
    centres = (torch.arange(SIZE, dtype=torch.float64) + 0.5 - SIZE / 2) / focal
    rays = torch.stack(torch.broadcast_tensors(centres, centres[:, None], torch.ones(())), -1)
    middle = torch.tensor([(centre_px[0] - SIZE / 2) / focal, (centre_px[1] - SIZE / 2) / focal, 1.0]).double()
    radius = radius_px / focal * middle.norm()
    b, square = rays @ middle, (rays * rays).sum(-1)
    root = b * b - square * (middle @ middle - radius * radius)
    return ((b - root.clamp_min(0).sqrt()) / square).float()[None, None], (root > 0)[None, None]


def centred_gap(depth: Tensor, truth: Tensor, inside: Tensor) -> float:
    """Greatest difference up to the mean distance."""
    gap = (depth - truth)[inside]
    return (gap - gap.mean()).abs().max().item()


def test_a_square_that_is_the_picture_changes_nothing() -> None:
    image, square = torch.rand(1, 3, SIZE, SIZE), torch.tensor([[0.0, 0.0, SIZE]])
    depth, view = 1 + 0.1 * torch.rand(1, 1, SIZE, SIZE), torch.tensor([[0.1, -0.2, 0.3, 0.01, -0.02, 0.0]])
    torch.testing.assert_close(reframed(image, square), image, atol=1e-5, rtol=0)
    torch.testing.assert_close(reframed_depth(depth, square, FOV_DEG), depth, atol=1e-6, rtol=0)
    torch.testing.assert_close(reframed_view(view, square, SIZE, FOV_DEG), view, atol=1e-6, rtol=0)


@pytest.mark.parametrize("place", [(32.0, 32.0), (46.0, 32.0), (32.0, 18.0), (20.0, 44.0)])
@pytest.mark.parametrize("zoom", [1.0, 1.6])
def test_a_sphere_off_the_axis_becomes_the_larger_sphere_on_it(place: tuple[float, float], zoom: float) -> None:
    """Only a depth that is turned and scaled does: a sphere looks the same from everywhere."""
    depth, _ = sphere(place, 12.0)
    size = SIZE / zoom
    square = torch.tensor([[place[0] - size / 2, place[1] - size / 2, size]])
    truth, _ = sphere((SIZE / 2, SIZE / 2), 12.0 * zoom)
    _, inside = sphere((SIZE / 2, SIZE / 2), 12.0 * zoom * 0.85)
    found = reframed_depth(depth, square, FOV_DEG)
    assert centred_gap(found, truth, inside) < 6e-4 * zoom  # .02 of the sphere's relief
    if place != (32.0, 32.0):  # what a plain enlargement would give
        plain = 1 + zoom * (reframed(depth, square) - 1)
        assert centred_gap(plain, truth, inside) > 2 * centred_gap(found, truth, inside)


def test_the_turn_brings_the_ray_through_the_centre_onto_the_axis() -> None:
    slopes = (ANYWHERE[:, :2] + ANYWHERE[:, 2:] / 2 - SIZE / 2) / focal_px(SIZE, FOV_DEG)
    rays = torch.cat([slopes, torch.ones(len(slopes), 1)], 1)
    found = (turns(ANYWHERE, SIZE, FOV_DEG) @ rays[..., None]).squeeze(-1)
    torch.testing.assert_close(found[:, :2], torch.zeros_like(found[:, :2]), atol=1e-7, rtol=0)
    torch.testing.assert_close(found[:, 2], rays.norm(dim=1))


def test_points_under_the_reframed_view_are_seen_where_the_square_shows_them() -> None:
    """A rigid object, larger by the zoom, under the new view: on the pixels of the square, to half a pixel."""
    rng = torch.Generator().manual_seed(0)
    middle = torch.tensor([0.0, 0.0, 1.0])
    points = middle + (torch.rand(1, 50, 3, generator=rng) - 0.5) * 0.04
    camera = intrinsics(SIZE, FOV_DEG)
    for square in ANYWHERE[:, None]:
        zoom = zooms(square, SIZE)
        view = torch.tensor([[0.2, -0.4, 0.1, 0.004, -0.003, 0.0]])
        view[:, 3:5] += axis_slopes(square, SIZE, FOV_DEG)  # in the square, a little beside its middle
        seen = project(move(points, view), camera)[..., :2]
        wanted = (seen - square[:, None, :2]) * zoom
        larger = middle + zoom * (points - middle)
        found = project(move(larger, reframed_view(view, square, SIZE, FOV_DEG)), camera)[..., :2]
        assert (found - wanted).abs().max() < 0.5
        unturned = torch.cat([view[:, :3], reframed_view(view, square, SIZE, FOV_DEG)[:, 3:]], 1)
        assert (project(move(larger, unturned), camera)[..., :2] - wanted).abs().max() > 1.5 * (
            found - wanted
        ).abs().max()


def test_depth_of_a_slanted_plane_follows_the_view_of_its_object() -> None:
    """The normal of a plane turns by the same rotation as the angles of a view."""
    normal = torch.tensor([0.2, -0.3, -1.0])
    slopes = (torch.arange(SIZE) + 0.5 - SIZE / 2) / focal_px(SIZE, FOV_DEG)
    depth = (normal[2] / (normal[0] * slopes + normal[1] * slopes[:, None] + normal[2]))[None, None]
    square = ANYWHERE[:1]
    found = reframed_depth(depth, square, FOV_DEG)[0, 0]
    view = reframed_view(torch.zeros(1, 6), square, SIZE, FOV_DEG)
    turned = rotation(view[:, :3])[0] @ normal
    step = 1 / focal_px(SIZE, FOV_DEG)
    inner = found[8:-8, 8:-8]
    assert inner.diff(dim=1).mean().item() / step == pytest.approx(-(turned[0] / turned[2]).item(), abs=0.02)
    assert inner.diff(dim=0).mean().item() / step == pytest.approx(-(turned[1] / turned[2]).item(), abs=0.02)


def test_there_and_back_is_the_picture_and_the_relief() -> None:
    grown = torch.nn.functional.interpolate(torch.rand(1, 3, 5, 5), (SIZE, SIZE), mode="bicubic")
    there = torch.tensor([[10.0, 4.0, 48.0]])
    zoom = zooms(there, SIZE).item()
    back = torch.tensor([[-10.0 * zoom, -4.0 * zoom, SIZE * zoom]])
    again = reframed(reframed(grown, there), back)
    inner = (..., slice(6, 50), slice(12, 56))
    torch.testing.assert_close(again[inner], grown[inner], atol=0.02, rtol=0)
    depth = 1 + 0.05 * grown[:, :1]
    found = reframed_depth(reframed_depth(depth, there, FOV_DEG), back, FOV_DEG)
    gap = (found - depth)[inner]
    assert (gap - gap.mean()).abs().max() < 2e-3


def test_zeros_and_borders_lie_beyond_the_edge() -> None:
    image, square = torch.full((1, 1, SIZE, SIZE), 0.5), torch.tensor([[-32.0, 0.0, 64.0]])
    assert (reframed(image, square) == 0.5).all()
    beyond = reframed(image, square, "zeros")
    assert (beyond[..., :31] == 0).all()
    assert torch.allclose(beyond[..., 1:-1, 33:], torch.tensor(0.5))


def test_boxes_and_the_squares_around_them() -> None:
    masks = torch.zeros(3, 1, SIZE, SIZE)
    masks[0, 0, 10:30, 20:25] = 1
    masks[1, 0, 63, :] = 1
    found = boxes(masks)
    assert found.tolist() == [[22.5, 20.0, 20.0], [32.0, 63.5, 64.0], [32.0, 32.0, 64.0]]
    squares = squares_around(found[:1], torch.tensor([0.5]), torch.tensor([[0.5, 0.6]]))
    assert squares.tolist() == [[2.5, -4.0, 40.0]]
    again = boxes(reframed(masks[:1], squares, "zeros"))
    assert again[0, 2].item() == pytest.approx(32, abs=1)
    assert again[0, 0].item() == pytest.approx(32, abs=1)
    assert again[0, 1].item() == pytest.approx(0.6 * SIZE, abs=1)


def test_yaw_is_negative_where_the_square_lies_to_the_right() -> None:
    """The image-right side of an object to the right is farther along the new axis."""
    view = reframed_view(torch.zeros(1, 6), torch.tensor([[40.0, 16.0, 32.0]]), SIZE, FOV_DEG)
    assert view[0, 1].item() == pytest.approx(-math.atan(24 / focal_px(SIZE, FOV_DEG)), abs=1e-6)
    assert view[0, 3].item() == pytest.approx(-2 * 24 / focal_px(SIZE, FOV_DEG), abs=1e-6)
