import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.scene import camera, light

from .oracles import head, pixel_rays

SIZE, FOV = 48, 10.0


def rays(size: int = SIZE, fov_deg: float = FOV) -> torch.Tensor:
    return torch.from_numpy(pixel_rays(size, fov_deg))


def ball(radius: float, distance: float, size: int = SIZE, fov_deg: float = FOV) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth [1, 1, S, S] and true normals [1, 3, S, S] of a sphere that fills the image."""
    ray = rays(size, fov_deg)
    a, b, c = (ray**2).sum(-1), distance * ray[..., 2], distance**2 - radius**2
    depth = (b - (b**2 - a * c).sqrt()) / a
    normal = (ray * depth[..., None] - torch.tensor([0, 0, distance])) / radius
    return depth[None, None], normal.permute(2, 0, 1)[None]


@pytest.mark.parametrize("normal", [[0.0, 0, -1], [0.3, -0.2, -1], [-0.8, 0.5, -1]])
@pytest.mark.parametrize("fov_deg", [10.0, 50.0])
def test_normals_of_a_plane_are_its_own(normal, fov_deg):
    normal = torch.nn.functional.normalize(torch.tensor(normal, dtype=torch.float64), dim=0)
    depth = normal[2] / (rays(fov_deg=fov_deg) @ normal)  # the plane through (0, 0, 1)
    found = light.normals_from_depth(depth[None, None], fov_deg)
    # A tilted plane's depth is 1 / linear: differences of it are exact only in the limit of small pixels.
    tolerance = 1e-12 if normal[2] == -1 else 2e-3
    torch.testing.assert_close(found, normal[None, :, None, None].expand_as(found), atol=tolerance, rtol=0)


def test_normals_of_a_sphere_converge_at_second_order_up_to_the_border():
    errors = []
    for size in (32, 64, 128):
        depth, truth = ball(0.2, 1.1, size)
        errors.append((light.normals_from_depth(depth, FOV) - truth).abs().max())
    assert errors[0] < 5e-3
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3


def test_normals_have_unit_length_and_point_to_the_camera():
    found = light.normals_from_depth(head(SIZE), FOV)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(1, SIZE, SIZE))
    assert (found[:, 2] < 0).all()


def test_normals_need_three_pixels():
    with pytest.raises(ValueError, match="3 x 3"):
        light.normals_from_depth(torch.ones(1, 1, 2, 2))


def test_shading_closed_form():
    normals = torch.tensor([0.0, 0, -1]).view(1, 3, 1, 1)
    lights = torch.tensor([[0.2, 0.7, 0.0, 0.0], [0.2, 0.7, 3.0, 4.0]])
    expected = torch.tensor([0.9, 0.2 + 0.7 / 26**0.5]).view(2, 1, 1, 1)
    torch.testing.assert_close(light.shade(normals, lights), expected)


def test_a_face_that_points_away_from_the_light_has_ambient_light_only():
    normals = torch.tensor([-0.8, 0, -0.6]).view(1, 3, 1, 1)
    found = light.shade(normals, torch.tensor([[0.3, 0.7, 2.0, 0.0]]))
    torch.testing.assert_close(found, torch.full((1, 1, 1, 1), 0.3))


# Golden sentences: y is down, so a light above has ly < 0.
@pytest.mark.parametrize(
    ("lx", "ly", "bright", "dark"),
    [
        pytest.param(0.0, -0.5, (5, 24), (42, 24), id="a light above (ly < 0) brightens the top"),
        pytest.param(0.0, 0.5, (42, 24), (5, 24), id="a light below brightens the bottom"),
        pytest.param(0.5, 0.0, (24, 42), (24, 5), id="a light at image right (lx > 0) brightens the right"),
        pytest.param(-0.5, 0.0, (24, 5), (24, 42), id="a light at image left brightens the left"),
    ],
)
def test_a_light_brightens_where_it_comes_from(lx, ly, bright, dark):
    depth, _ = ball(0.2, 1.1)
    one_light = torch.tensor([[0.3, 0.6, lx, ly]], dtype=torch.float64)
    shading = light.shade(light.normals_from_depth(depth), one_light)[0, 0]
    assert shading[bright] > shading[dark] + 0.1


def test_a_shading_of_one_leaves_the_albedo():
    albedo = torch.rand(2, 3, 5, 5) * 2 - 1
    torch.testing.assert_close(light.apply_light(albedo, torch.ones(2, 1, 5, 5)), albedo)
    found = light.apply_light(albedo, torch.ones(1, 1, 5, 5), linear=True)
    torch.testing.assert_close(found, albedo, atol=1e-3, rtol=0)


def test_applied_light_golden_values():
    albedo, shading = torch.full((1, 1, 1, 1), 0.5).expand(1, 3, 1, 1), torch.full((1, 1, 1, 1), 0.5)
    assert light.apply_light(albedo, shading)[0, 0, 0, 0] == pytest.approx(0.75 * 0.5 * 2 - 1)
    expected = (0.75**2.2 * 0.5) ** (1 / 2.2) * 2 - 1
    assert light.apply_light(albedo, shading, linear=True)[0, 0, 0, 0] == pytest.approx(expected, abs=1e-5)


def test_a_rotated_light_shades_rotated_normals_alike():
    matrix = camera.rotation(torch.tensor([[0.3, -0.4, 0.5], [0.1, 0.2, -0.3]], dtype=torch.float64))
    lights = torch.tensor([[0.3, 0.6, 0.4, -0.2], [0.5, 0.5, -0.1, 0.3]], dtype=torch.float64)
    normals = torch.nn.functional.normalize(torch.randn(2, 3, 4, 4, dtype=torch.float64), dim=1)
    rotated = torch.einsum("bij,bjhw->bihw", matrix, normals)
    found = light.shade(rotated, light.rotate_light(lights, matrix))
    torch.testing.assert_close(found, light.shade(normals, lights))


def test_a_light_that_gets_behind_is_reported():
    matrix = camera.rotation(torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.1, 0.0]]))
    lights = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    assert light.light_in_front(lights, matrix).tolist() == [False, True]
    with pytest.raises(UserError, match="behind"):
        light.rotate_light(lights, matrix)


@pytest.mark.parametrize("linear", [False, True])
def test_gradients_of_the_light(linear):
    depth = head(6, torch.float64)
    albedo = torch.rand(2, 3, 6, 6, dtype=torch.float64) - 0.5
    lights = torch.tensor([[0.4, 0.5, 0.2, -0.3], [0.6, 0.3, -0.1, 0.1]], dtype=torch.float64)

    def image(depth, albedo, lights):
        return light.apply_light(albedo, light.shade(light.normals_from_depth(depth, FOV), lights), linear=linear)

    inputs = [t.clone().requires_grad_() for t in (depth, albedo, lights)]
    assert torch.autograd.gradcheck(image, inputs)
