"""Mirror images as second views: a sphere with symmetric colours, whose depth, normals and planes are known."""

import math

import numpy as np
import pytest
import torch

from gan2shape.scene.camera import pixel_slopes, rotation
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.scene.mirror import (
    MirrorPlanes,
    colours_by_mirror,
    mirror_motion,
    mirror_places,
    mirrored_lights,
    seen_in_mirror,
)
from gan2shape.synth.render import turntable_view

SIZE, FOV_DEG, RADIUS = 96, 10.0, 0.06
CENTRE = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
LIGHT = torch.tensor([[0.4, 0.5, 0.6, -0.3]], dtype=torch.float64)


def planes_at(yaw_deg: float, pitch_deg: float = 0.0, offset: float = 0.0) -> MirrorPlanes:
    yaw, pitch = (torch.tensor([math.radians(angle)], dtype=torch.float64) for angle in (yaw_deg, pitch_deg))
    return MirrorPlanes(yaw, pitch, torch.tensor([offset], dtype=torch.float64), LIGHT)


def plane_normal(planes: MirrorPlanes) -> torch.Tensor:
    """As the conventions say it: Rx(pitch) Ry(yaw) (1, 0, 0)."""
    zero = torch.zeros_like(planes.yaw_rad)
    about_x = rotation(torch.stack([planes.pitch_rad, zero, zero], -1))
    about_y = rotation(torch.stack([zero, planes.yaw_rad, zero], -1))
    return (about_x @ about_y)[0, :, 0]


def sphere(planes: MirrorPlanes, scale: float = 1.0) -> dict[str, torch.Tensor]:
    """A sphere that a plane of symmetry halves: depth by the quadratic formula, colours that are the same on both
    sides of the plane, lit by LIGHT.
    """
    normal = plane_normal(planes)
    centre = CENTRE + planes.offset * normal
    slopes = pixel_slopes(SIZE, FOV_DEG, CENTRE)
    rays = torch.stack([slopes.expand(SIZE, -1), slopes[:, None].expand(-1, SIZE), torch.ones(SIZE, SIZE).double()])
    a, b = rays.square().sum(0), (rays * centre[:, None, None]).sum(0)
    root = b.square() - a * (centre.square().sum() - RADIUS**2)
    hit = root > 0
    z = torch.where(hit, (b - root.clamp_min(0).sqrt()) / a, 1.08)
    points = rays * z - centre[:, None, None]
    aside = (points * normal[:, None, None]).sum(0).abs() / RADIUS  # distance from the plane, whichever side
    along = torch.stack([aside, points[1] - normal[1] * (points * normal[:, None, None]).sum(0), points[2] * 0])
    albedo = 0.5 + 0.3 * torch.stack([(5 * along[0]).cos(), (60 * along[1]).sin(), (3 * along[0] + 1).sin()])
    depth = (1 + scale * (z - 1))[None, None]
    lit = albedo[None] * shade(normals_from_depth(z[None, None], FOV_DEG), LIGHT)
    return {"depth": depth, "colours": lit * 2 - 1, "mask": hit[None, None].double()}


def error(made: dict[str, torch.Tensor], planes: MirrorPlanes) -> float:
    """Mean |difference| of the colours that the mirror image says, where it shows them."""
    seen = seen_in_mirror(made["depth"], made["mask"], planes, FOV_DEG)
    said = colours_by_mirror(made["colours"], made["depth"], planes, FOV_DEG)
    return float((seen * (said - made["colours"]).abs()).sum() / (3 * seen.sum()))


@pytest.mark.parametrize("pose", [(0.0, 0.0, 0.0), (12.0, 0.0, 0.0), (-20.0, 8.0, 0.0), (15.0, -6.0, 0.004)])
def test_the_mirror_image_of_a_symmetric_object_says_its_colours(pose) -> None:
    planes = planes_at(*pose)
    made = sphere(planes)
    least = error(made, planes)
    assert least < 0.012
    yaw, pitch, offset = pose
    for other in ((yaw + 6, pitch, offset), (yaw - 6, pitch, offset), (yaw, pitch, offset + 0.003)):
        assert error(made, planes_at(*other)) > 2.5 * least
    dark = MirrorPlanes(planes.yaw_rad, planes.pitch_rad, planes.offset, LIGHT * LIGHT.new_tensor([1, 1, 0, 1]))
    assert error(made, dark) > 2.5 * least  # the light comes from the side


def test_a_wrong_depth_explains_its_mirror_image_worse() -> None:
    planes = planes_at(20.0)
    least = error(sphere(planes), planes)
    for scale in (0.6, 1.4):
        assert error(sphere(planes, scale), planes) > 3 * least


@pytest.mark.parametrize(("azimuth_deg", "elevation_deg"), [(0, 0), (25, 0), (-40, 12), (10, 25)])
def test_the_plane_of_a_turntable_is_its_heading_and_elevation(azimuth_deg, elevation_deg) -> None:
    view = turntable_view(math.radians(azimuth_deg), math.radians(elevation_deg))[None].double()
    turned = rotation(view[:, :3])
    planes = planes_at(azimuth_deg, elevation_deg)
    torch.testing.assert_close(plane_normal(planes), turned[0, :, 0], atol=1e-6, rtol=0)
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    matrix, views = mirror_motion(planes)
    torch.testing.assert_close(matrix, flip @ turned @ flip @ turned.transpose(1, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(rotation(views[:, :3]), matrix, atol=1e-9, rtol=0)
    assert float(torch.det(matrix)) == pytest.approx(1.0)


def test_points_move_as_the_two_reflections_say() -> None:
    planes = planes_at(17.0, 9.0, 0.01)
    normal, depth = plane_normal(planes), sphere(planes)["depth"]
    slopes = pixel_slopes(SIZE, FOV_DEG, depth)
    x, y = depth[0, 0] * slopes, depth[0, 0] * slopes[:, None]
    points = torch.stack([x, y, depth[0, 0]], -1)
    height = (points - CENTRE) @ normal - planes.offset
    there = (points - 2 * height[..., None] * normal) * torch.tensor([-1.0, 1.0, 1.0])
    places, z = mirror_places(depth, mirror_motion(planes)[1], FOV_DEG)
    torch.testing.assert_close(z[0, 0], there[..., 2], atol=1e-9, rtol=0)
    half = math.tan(math.radians(FOV_DEG) / 2)
    torch.testing.assert_close(places[0], there[..., :2] / there[..., 2:] / half, atol=1e-9, rtol=0)


def test_a_mirror_image_says_the_mirrored_thing() -> None:
    planes = planes_at(14.0, 5.0, 0.003)
    made = sphere(planes_at(10.0, 3.0))
    said = colours_by_mirror(made["colours"], made["depth"], planes, FOV_DEG)
    flipped = {name: one.flip(-1) for name, one in made.items()}
    other = planes.of_mirror_images()
    torch.testing.assert_close(colours_by_mirror(flipped["colours"], flipped["depth"], other, FOV_DEG), said.flip(-1))
    torch.testing.assert_close(
        seen_in_mirror(flipped["depth"], flipped["mask"], other, FOV_DEG),
        seen_in_mirror(made["depth"], made["mask"], planes, FOV_DEG).flip(-1),
    )
    torch.testing.assert_close(mirrored_lights(mirrored_lights(LIGHT)), LIGHT)


def test_what_the_mirror_image_does_not_show_is_left_out() -> None:
    planes = planes_at(30.0)
    made = sphere(planes)
    seen = seen_in_mirror(made["depth"], made["mask"], planes, FOV_DEG)[0, 0].bool().numpy()
    normals = normals_from_depth(made["depth"], FOV_DEG)[0]
    turned = torch.einsum("ij,jhw->ihw", mirror_motion(planes)[0][0], normals)
    facing = (-turned[2]).numpy()
    inside = made["mask"][0, 0].bool().numpy()
    assert not seen[~inside].any()
    assert not seen[inside & (facing < 0.2)].any()
    well = inside & (facing > 0.45) & (-normals[2].numpy() > 0.45)
    assert seen[well].mean() > 0.97
    assert 0.3 < seen.sum() / inside.sum() < 0.8
    wall = made["depth"].clone()  # the image-left half stands out: turned, it hides what is right of it
    wall[..., : SIZE // 2 - 6] = wall[..., : SIZE // 2 - 6].clamp(max=0.93)
    behind = np.zeros_like(inside)
    behind[:, SIZE // 2 - 4 : SIZE // 2 + 2] = inside[:, SIZE // 2 - 4 : SIZE // 2 + 2]
    hidden = seen_in_mirror(wall, made["mask"], planes, FOV_DEG)[0, 0].bool().numpy()
    assert seen[behind].mean() > 0.8
    assert hidden[behind].mean() < 0.2


def test_gradients_are_those_of_differences() -> None:
    planes = planes_at(11.0, 4.0, 0.002)
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(1, 3, 8, 8, generator=generator, dtype=torch.float64) - 0.5
    depth = 1 + 0.02 * torch.rand(1, 1, 8, 8, generator=generator, dtype=torch.float64)

    def said(depth, yaw, pitch, offset, lights):
        return colours_by_mirror(colours, depth, MirrorPlanes(yaw, pitch, offset, lights), FOV_DEG)

    parts = (depth, planes.yaw_rad, planes.pitch_rad, planes.offset, planes.lights)
    assert torch.autograd.gradcheck(said, [part.clone().requires_grad_(True) for part in parts], atol=1e-4)


def test_nothing_turns_at_heading_zero() -> None:
    matrix, views = mirror_motion(planes_at(0.0))
    torch.testing.assert_close(matrix, torch.eye(3, dtype=torch.float64)[None])
    assert not views.any()
