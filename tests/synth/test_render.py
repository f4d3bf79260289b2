"""Truth of renders: geometry, shading and coverage agree with each other and with closed forms."""

import numpy as np
import pytest
import torch

from gan2shape.scene.camera import intrinsics, rotation, unproject
from gan2shape.scene.light import light_direction, normals_from_depth
from gan2shape.synth import car
from gan2shape.synth.loft import corner_normals
from gan2shape.synth.objects import LightDistribution, ObjectMesh
from gan2shape.synth.render import (
    FAR_DEPTH,
    render_colour,
    render_object,
    render_objects,
    turntable_view,
)

LIGHT = torch.tensor([[0.4, 0.6, -0.3, -0.5]])


def sphere(radius: float = 0.06, n: int = 96) -> ObjectMesh:
    """A fine sphere in the object frame with exact normals."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, n + 1), np.arange(2 * n) / n * np.pi, indexing="ij")
    unit = np.stack([np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], -1).reshape(-1, 3)
    row, col = np.meshgrid(np.arange(n), np.arange(2 * n), indexing="ij")
    a, b = row * 2 * n + col, row * 2 * n + (col + 1) % (2 * n)
    faces = np.concatenate([np.stack([a, b, b + 2 * n], -1), np.stack([a, b + 2 * n, a + 2 * n], -1)]).reshape(-1, 3)
    corners = unit[faces]
    inwards = np.einsum(
        "fi,fi->f", np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), corners[:, 0]
    )
    faces[inwards < 0] = faces[inwards < 0][:, ::-1]
    albedo = np.full((len(faces), 3), 0.5, np.float32)
    return ObjectMesh((unit * radius).astype(np.float32), faces, albedo, unit[faces].astype(np.float32))


def plain_car(seed: int = 0) -> ObjectMesh:
    return car.build(car.sample_params(np.random.default_rng(seed)))


def lit(n: int = 1) -> torch.Tensor:
    return LIGHT.expand(n, 4)


def test_sphere_closed_form():
    radius, size = 0.06, 64
    truth = render_object(sphere(radius), torch.zeros(1, 6), lit(), size)
    ray = torch.nn.functional.normalize(unproject(torch.ones(1, 1, size, size), intrinsics(size))[0], dim=-1)
    along = ray[..., 2]  # towards the centre (0, 0, 1)
    discriminant = along**2 - (1 - radius**2)
    hit = discriminant > 0
    z = (along - discriminant.clamp(min=0).sqrt()) * ray[..., 2]
    inside = discriminant > 2e-4  # away from the outline
    assert (truth.hit[0, 0] == hit).float().mean() > 0.995
    assert (truth.depth[0, 0] - z)[inside].abs().max() < 5e-5
    exact = (truth.depth[0, 0][..., None] * ray / ray[..., 2:] - torch.tensor([0, 0, 1.0])) / radius
    assert (truth.normals[0].permute(1, 2, 0) - exact)[inside].abs().max() < 5e-3
    expected = 0.5 * (0.4 + 0.6 * (exact @ light_direction(LIGHT)[0]).clamp(min=0))
    assert ((truth.image[0] + 1) / 2 - expected)[:, inside].abs().max() < 0.01
    area = np.pi * (radius / np.sqrt(1 - radius**2) / (2 * np.tan(np.deg2rad(5))) * size) ** 2
    assert truth.mask.sum().item() == pytest.approx(area, rel=0.003)


def test_uncovered_pixels():
    truth = render_object(sphere(), torch.zeros(1, 6), lit(), background=(0.2, 0.4, 0.6))
    empty = truth.mask[0, 0] == 0
    assert (truth.depth[0, 0][~truth.hit[0, 0]] == FAR_DEPTH).all()
    for field in (truth.image, truth.albedo):
        values = (field[0][:, empty] + 1) / 2
        torch.testing.assert_close(values, torch.tensor([[0.2], [0.4], [0.6]]).expand_as(values))
    assert (truth.normals[0, 2][empty] == -1).all()


def test_mask_is_coverage():
    coarse = render_object(plain_car(), turntable_view(0.7, 0.2)[None], lit(), 64)
    fine = render_object(plain_car(), turntable_view(0.7, 0.2)[None], lit(), 192)
    expected = torch.nn.functional.avg_pool2d(fine.hit.float(), 3)
    assert (coarse.mask - expected).abs().max() < 1e-5
    assert torch.equal(coarse.hit, fine.hit[..., 1::3, 1::3])
    torch.testing.assert_close(coarse.depth, fine.depth[..., 1::3, 1::3], atol=1e-6, rtol=0)


@pytest.mark.parametrize("azimuth_deg", [-60, 25, 85])
def test_normals_agree_with_finite_differences_of_depth(azimuth_deg):
    size = 256
    truth = render_object(plain_car(1), turntable_view(np.deg2rad(azimuth_deg), 0.25)[None], lit(), size)
    numeric = normals_from_depth(truth.depth)
    z = truth.depth[0, 0]
    # Smooth places: the depth's second differences are small in a window that the object covers.
    bend = torch.zeros_like(z)
    bend[1:-1, 1:-1] = (z[1:-1, 2:] + z[1:-1, :-2] - 2 * z[1:-1, 1:-1]).abs() + (
        z[2:, 1:-1] + z[:-2, 1:-1] - 2 * z[1:-1, 1:-1]
    ).abs()
    rough = torch.nn.functional.max_pool2d(bend[None, None] + (~truth.hit).float(), 3, 1, 1)[0, 0]
    smooth = rough < 2e-5
    assert smooth.sum() > 0.15 * truth.hit.sum()
    angle = torch.rad2deg((numeric * truth.normals).sum(1).clamp(-1, 1).acos())[0][smooth]
    assert angle.median() < 6  # flat facets against smooth shading normals
    assert angle.quantile(0.95) < 20
    assert (truth.normals[:, 2][truth.hit[:, 0]] < 0.35).all()  # interpolated normals may tilt slightly over


def test_depth_unprojects_onto_the_mesh():
    mesh, view = plain_car(2), turntable_view(-0.6, 0.3)
    truth = render_object(mesh, view[None], lit())
    points = unproject(truth.depth, intrinsics(64))[0][truth.hit[0, 0]]
    back = (points - torch.tensor([0, 0, 1.0])) @ rotation(view[:3])  # R^T applied to rows
    low, high = torch.from_numpy(mesh.vertices.min(0)), torch.from_numpy(mesh.vertices.max(0))
    assert (back > low - 1e-5).all()
    assert (back < high + 1e-5).all()
    # The highest visible point is the roof, the lowest a tyre: both ends of the box are reached within a pixel.
    assert back[:, 1].min() < low[1] + 0.004
    assert back[:, 1].max() > high[1] - 0.006


def test_light_above_brightens_what_faces_up():
    view = turntable_view(0.5, 0.35)[None].expand(2, 6)
    light = torch.tensor([[0.4, 0.6, 0.0, -0.8], [0.4, 0.6, 0.0, 0.8]])
    truth = render_object(plain_car(), view, light)
    up = truth.hit[0, 0] & (truth.normals[0, 1] < -0.5)
    assert up.sum() > 50
    assert (truth.image[0] - truth.image[1])[:, up].mean() > 0.1


def test_positive_yaw_rotates_the_front_to_image_left_and_pitch_looks_from_above():
    mesh = plain_car(3)
    headlights = np.all(mesh.face_albedo == car.HEADLIGHT_RGB.astype(np.float32), axis=1)
    front = torch.from_numpy(mesh.vertices[mesh.faces[headlights]].mean((0, 1)))
    assert (rotation(turntable_view(0.6, 0.0)[:3]) @ front)[0] < -0.02
    roof = torch.tensor([0.0, -0.02, 0.0])
    assert (rotation(turntable_view(0.6, 0.3)[:3]) @ roof)[2] < 0
    # Seen level, a turntable's azimuth is the yaw.
    torch.testing.assert_close(turntable_view(0.6, 0.0)[:3], torch.tensor([0.0, 0.6, 0.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("azimuth_deg", [-80, -30, 0, 45])
def test_turntable_keeps_the_car_upright(azimuth_deg):
    """The image of the object's vertical axis stays vertical whatever the azimuth."""
    matrix = rotation(turntable_view(np.deg2rad(azimuth_deg), 0.4)[:3])
    assert (matrix @ torch.tensor([0.0, 1.0, 0.0]))[0].abs() < 1e-6


def test_many_views_equal_one_at_a_time():
    mesh = plain_car(4)
    view = torch.stack([turntable_view(a, 0.2) for a in np.linspace(-1, 1, 11)])
    light = torch.tensor(np.stack([LightDistribution().sample(np.random.default_rng(i)) for i in range(11)])).float()
    together = render_object(mesh, view, light)
    for i in (0, 5, 10):
        alone = render_object(mesh, view[i : i + 1], light[i : i + 1])
        assert torch.equal(together.image[i], alone.image[0])
        assert torch.equal(together.depth[i], alone.depth[0])


def test_colour_path_has_the_pixels_of_the_truth_path():
    meshes = [plain_car(i) for i in range(3)]
    view = torch.stack([turntable_view(a, 0.1) for a in (-0.5, 0.4, 1.2)])
    background = torch.full((3, 3), 0.92)
    fast = render_colour(meshes, view, lit(3), background)
    truth = render_objects(meshes, view, lit(3), background).image
    np.testing.assert_allclose(fast.transpose(0, 3, 1, 2), (truth.numpy() + 1) * 127.5, atol=0.51)


def test_corner_albedo_is_interpolated():
    mesh = sphere()
    corner_albedo = (mesh.vertices[mesh.faces] / 0.06 + 1) / 2
    painted = ObjectMesh(mesh.vertices, mesh.faces, mesh.face_albedo, mesh.corner_normals, corner_albedo)
    truth = render_object(painted, torch.zeros(1, 6), lit())
    hit = truth.hit[0, 0]
    assert (truth.albedo[0][:, hit] - truth.normals[0][:, hit]).abs().max() < 5e-3


def test_corner_normals_of_the_sphere_match_its_exact_ones():
    mesh = sphere(n=48)
    vertices = mesh.vertices.astype(np.float64)
    area = np.linalg.norm(
        np.cross(
            vertices[mesh.faces[:, 1]] - vertices[mesh.faces[:, 0]],
            vertices[mesh.faces[:, 2]] - vertices[mesh.faces[:, 0]],
        ),
        axis=1,
    )
    sound = area > 1e-9
    normals = corner_normals(vertices, mesh.faces[sound])
    assert np.einsum("fki,fki->fk", normals, mesh.corner_normals[sound]).min() > 0.998
