import math

import numpy as np
import pytest
import torch

from gan2shape.core.records import Render, Scene
from gan2shape.scene import camera
from gan2shape.scene.canvas import Canvas
from gan2shape.scene.height_field import border_grid, grid_faces, rasterize_grid
from gan2shape.scene.light import apply_light, normals_from_depth, shade
from gan2shape.scene.mesh_raster import rasterize
from gan2shape.scene.render import (
    render_depth,
    render_scene,
    sampling_grid,
    warp,
)

from .oracles import embree_first_hit, head, pixel_rays, texture

FOV = 10.0
LIGHT = torch.tensor([[0.5, 0.5, 0.2, -0.4]])
VIEWS = torch.tensor(
    [
        [0.0, 0.35, 0.0, 0.0, 0.0, 0.0],
        [0.2, -0.5, 0.1, 0.004, -0.006, 0.02],
        [-0.3, 0.8, -0.4, 0.0, 0.01, -0.05],
        [0.05, -1.2, 0.0, 0.01, 0.0, 0.0],
    ]
)
MAX_DIFFERENT = 0.002


def view_of(**degrees: float) -> torch.Tensor:
    names = ("pitch", "yaw", "roll")
    return torch.tensor([[math.radians(degrees.get(name, 0.0)) for name in names] + [0.0, 0.0, 0.0]])


def render_all(scene: Scene, **options) -> Render:
    """The scene in its own views and lights, all of it object."""
    return render_scene(scene, scene.view, scene.light, FOV, **options)


def scene_of(view: torch.Tensor, size: int = 64, albedo: torch.Tensor | None = None) -> Scene:
    batch = len(view)
    albedo = texture(size) if albedo is None else albedo
    expand = [t.to(view.dtype).expand(batch, *t.shape[1:]) for t in (head(size), albedo, LIGHT)]
    return Scene(depth=expand[0], albedo=expand[1], view=view, light=expand[2])


@pytest.mark.parametrize(
    ("size", "tolerance"),
    [
        (64, 1e-6),
        (128, 1e-6),
        (256, 1e-6),
        # (g + 1) * size / 2 inside grid_sample rounds to about 1e-7 * size pixels; white noise changes by 2 in a pixel.
        pytest.param(3, 1e-6, id="3"),
        pytest.param(200, 3e-7 * 200, id="200"),
    ],
)
def test_identity_view_changes_nothing(size, tolerance):
    noise = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    scene = scene_of(torch.zeros(2, 6), size, albedo=noise)
    render = render_all(scene)
    plain = apply_light(noise, shade(normals_from_depth(head(size), FOV), LIGHT))
    assert (render.mask == 1).all()
    torch.testing.assert_close(render.depth, scene.depth, atol=1e-6, rtol=0)
    torch.testing.assert_close(render.image, plain.expand(2, -1, -1, -1), atol=tolerance, rtol=0)


def test_grid_faces_tile_the_grid_and_face_the_camera():
    faces = grid_faces(5)
    assert faces.shape == (2 * 16, 3)
    vertices = border_grid(torch.ones(1, 1, 3, 3), FOV)[0]
    corner = vertices[faces]
    normal = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    assert (normal[:, 2] < 0).all()
    width = 2 * math.tan(math.radians(FOV) / 2)  # the border ring reaches the image border
    assert normal.norm(dim=1).sum() / 2 == pytest.approx(width**2)


@pytest.mark.parametrize("view", [[0, 0.5, 0, 0, 0, 0], [0.3, -0.4, 0.7, 0.01, -0.01, 0.1], [0, 0, 0.5, 0, 0, 0]])
def test_a_turned_plane_in_closed_form(view):
    size, view = 64, torch.tensor([view], dtype=torch.float64)
    depth, mask, grid = render_depth(torch.ones(1, 1, size, size, dtype=torch.float64), view, FOV)
    matrix = camera.rotation(view[:, :3])[0]
    through = torch.tensor([0.0, 0, 1], dtype=torch.float64) + view[0, 3:]
    rays = torch.from_numpy(pixel_rays(size, FOV))
    truth = (matrix[:, 2] @ through) / (rays @ matrix[:, 2])
    canonical = ((rays * truth[..., None]) - through) @ matrix  # on the plane, relative to its centre
    truth_grid = canonical[..., :2] / math.tan(math.radians(FOV) / 2)
    truth_mask = (truth_grid.abs() < 1).all(-1)
    covered = mask[0, 0] > 0
    assert 0.3 < covered.double().mean() < 1
    assert (covered == truth_mask).all()
    torch.testing.assert_close(depth[0, 0][covered], truth[covered], atol=1e-9, rtol=0)
    torch.testing.assert_close(grid[0][covered], truth_grid[covered], atol=1e-7, rtol=0)


def test_a_ball_looks_the_same_from_everywhere():
    # A height field on a ball about the pivot, seen rotated: still the same ball where the visible cap overlaps.
    size, radius = 128, 0.3
    rays = torch.from_numpy(pixel_rays(size, FOV))
    a, b, c = (rays**2).sum(-1), rays[..., 2], 1 - radius**2
    ball = ((b - (b**2 - a * c).sqrt()) / a)[None, None]
    view = torch.zeros(1, 6, dtype=torch.float64)
    view[0, :3] = torch.tensor([0.06, -0.08, 0.4])
    depth, mask, grid = render_depth(ball, view, FOV)
    # Inside the ring that repeats the depth; a chord of a pixel's diagonal lies up to 2e-6 below the ball.
    covered = (mask[:, 0] > 0) & (grid.abs() < 1 - 1 / size).all(-1)
    assert covered.double().mean() > 0.5
    torch.testing.assert_close(depth[:, 0][covered], ball[:, 0][covered], atol=3e-6, rtol=0)


@pytest.mark.parametrize("index", range(len(VIEWS)))
@pytest.mark.parametrize(("size", "out_size"), [(64, 64), (128, 128), (48, 100)])
def test_agrees_with_embree(index, size, out_size):
    pytest.importorskip("embreex")
    view = VIEWS[index : index + 1]
    depth, mask, _ = render_depth(head(size), view, FOV, out_size)
    vertices = camera.move(border_grid(head(size), FOV), view)[0].double().numpy()
    face, truth = embree_first_hit(vertices, grid_faces(size + 2).numpy(), out_size, FOV)
    covered = mask[0, 0].numpy() > 0
    assert (covered != (face >= 0)).mean() < MAX_DIFFERENT
    both = covered & (face >= 0)
    error = np.abs(depth[0, 0].double().numpy() - truth)
    steps = np.stack(np.gradient(truth)).max(0)
    smooth = both & (np.abs(steps) < 0.01)  # away from silhouettes
    assert smooth.sum() > 0.5 * both.sum()
    assert error[smooth].max() < 1e-5
    assert (error[both] > 1e-5).mean() < MAX_DIFFERENT


@pytest.mark.parametrize("out_size", [32, 50])
def test_the_grid_rasteriser_equals_the_mesh_rasteriser(out_size):
    vertices = camera.move(border_grid(head(32), FOV), VIEWS)
    pixels = camera.project(vertices, camera.intrinsics(out_size, FOV))
    mesh = rasterize(pixels, grid_faces(34), out_size, out_size)
    depth, covered = rasterize_grid(*(t.unflatten(1, (34, 34)) for t in pixels.unbind(-1)), out_size, out_size)
    assert (covered == (mesh.face >= 0)).all()
    torch.testing.assert_close(depth[covered], mesh.depth[covered], atol=1e-7, rtol=0)


def test_uncovered_pixels_take_the_far_depth():
    scene = scene_of(VIEWS)
    render = render_all(scene, far=1.3)
    empty = render.mask == 0
    assert empty.any()
    assert (render.depth[empty] == 1.3).all()
    assert set(render.mask.unique().tolist()) == {0.0, 1.0}
    assert all(t.isfinite().all() for t in (render.image, render.depth, render.grid))


# Golden sentences of the conventions, on pictures.
@pytest.mark.parametrize(
    ("degrees", "near", "far"),
    [
        pytest.param({"yaw": 15}, (32, 58), (32, 6), id="positive yaw: image right comes nearer"),
        pytest.param({"pitch": 15}, (6, 32), (58, 32), id="positive pitch: the top comes nearer"),
    ],
)
def test_what_comes_nearer(degrees, near, far):
    depth, mask, _ = render_depth(torch.ones(1, 1, 64, 64), view_of(**degrees), FOV)
    assert mask[0, 0][near] == 1
    assert mask[0, 0][far] == 1
    assert depth[0, 0][near] < depth[0, 0][far] - 0.01


@pytest.mark.parametrize(
    ("degrees", "row", "column"),
    [
        pytest.param({"yaw": 15}, 0, -1, id="positive yaw: the front rotates to image left"),
        pytest.param({"pitch": 15}, 1, 0, id="positive pitch: we look from above, the front moves down"),
    ],
)
def test_where_the_front_turns(degrees, row, column):
    # A dark dot on the tip of a hill in the middle.
    size = 65
    at = (torch.arange(size) + 0.5) / size * 2 - 1
    r2 = at[None, :] ** 2 + at[:, None] ** 2
    depth = (1.0 - 0.08 * torch.exp(-r2 / 0.1))[None, None]
    albedo = (1 - 2 * torch.exp(-r2 / 0.01)).expand(1, 3, size, size)
    light = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    image = render_all(Scene(depth, albedo, view_of(**degrees), light)).image[0, 0]
    found = divmod(int(image.argmin()), size)
    moved = torch.tensor(found) - size // 2
    expected = torch.tensor([row, column])
    assert (moved * expected).sum() > 4
    assert (moved * (1 - expected.abs())).abs().sum() <= 1


def test_positive_roll_turns_clockwise_on_the_screen():
    size = 65
    albedo = torch.full((1, 3, size, size), -1.0)
    albedo[:, :, 4:9, 30:35] = 1.0  # a white patch at the top
    light = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    image = render_all(Scene(torch.ones(1, 1, size, size), albedo, view_of(roll=90), light)).image[0, 0]
    assert image[32, 58] > 0.9  # now at image right
    assert image[6, 32] < -0.9


@pytest.mark.parametrize(("component", "row", "column"), [(3, 0, 1), (4, 1, 0)])
def test_translation_moves_the_picture_right_and_down(component, row, column):
    size, pixels = 64, 8
    view = torch.zeros(1, 6)
    view[0, component] = pixels * 2 * math.tan(math.radians(FOV) / 2) / size  # 8 px at depth 1
    albedo = texture(size)
    light = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    image = render_all(Scene(torch.ones(1, 1, size, size), albedo, view, light)).image
    kept = size - pixels
    torch.testing.assert_close(
        image[:, :, row * pixels :, column * pixels :],
        albedo[:, :, : size - row * pixels, : size - column * pixels],
        atol=1e-4,
        rtol=0,
    )
    assert kept > 0


def test_moving_away_makes_it_smaller():
    view = torch.tensor([[0.0, 0, 0, 0, 0, 1.0]])
    _, mask, _ = render_depth(torch.ones(1, 1, 64, 64), view, FOV)
    assert mask.sum() == 32 * 32


def test_shaded_texture_does_not_depend_on_the_view():
    size = 64
    scene = scene_of(VIEWS[:2])
    render = render_all(scene)
    canonical = apply_light(texture(size), shade(normals_from_depth(head(size), FOV), LIGHT))
    torch.testing.assert_close(render.image, warp(canonical.expand(2, -1, -1, -1), render.grid))


def test_a_lamp_above_brightens_the_top_of_a_picture():
    at = (torch.arange(64) + 0.5) / 64 * 2 - 1
    ball = (1.1 - 0.1 * (1 - 0.45 * (at[None, :] ** 2 + at[:, None] ** 2)).sqrt())[None, None]
    light = torch.tensor([[0.4, 0.6, 0.0, -0.5]])
    image = render_all(Scene(ball, torch.zeros(1, 3, 64, 64), torch.zeros(1, 6), light)).image
    assert image[:, :, :20].mean() > image[:, :, -20:].mean() + 0.1


def test_one_shared_depth_equals_a_batch_of_copies():
    shared = render_all(scene_of(VIEWS))
    scene = scene_of(VIEWS)
    copies = render_all(Scene(scene.depth.clone(), scene.albedo.clone(), scene.view, scene.light.clone()))
    for name in ("image", "depth", "mask", "grid"):
        torch.testing.assert_close(getattr(shared, name), getattr(copies, name))
    alone = render_all(scene_of(VIEWS[2:3]))
    torch.testing.assert_close(alone.image, shared.image[2:3])


def test_one_view_is_shared_by_a_batch_of_depths():
    depths = torch.cat([head(32), torch.ones(1, 1, 32, 32)])
    together = render_depth(depths, VIEWS[1:2], FOV)
    for i in range(2):
        for found, alone in zip(together, render_depth(depths[i : i + 1], VIEWS[1:2], FOV), strict=True):
            torch.testing.assert_close(found[i : i + 1], alone)
    assert warp(texture(32), together[2]).shape == (2, 3, 32, 32)


def test_warp_there_and_back():
    size, view = 128, VIEWS[:1] * 0.5
    depth, mask, there = render_depth(head(size), view, FOV)
    back = sampling_grid(head(size), camera.inverse_view(view), FOV)  # where the canonical surface lies in the view
    seen_depth = warp(depth, back)
    expected = camera.move(camera.unproject(head(size), camera.intrinsics(size, FOV)).flatten(1, 2), view)
    visible = ((seen_depth[0, 0] - expected[0, :, 2].view(size, size)).abs() < 2e-3) & (warp(mask, back)[0, 0] > 0.999)
    visible &= (back[0].abs() < 1).all(-1)
    assert visible.float().mean() > 0.8
    image = texture(size)
    round_trip = warp(warp(image, there), back)
    error = (round_trip - image).abs().amax(1)[0][visible]
    assert error.mean() < 1e-3
    assert error.quantile(0.99) < 1e-2


def test_the_mask_follows_the_surface_and_parts_of_it_add_up():
    size, view = 64, view_of(yaw=20)
    scene, background = scene_of(view), torch.zeros(1, 3, size, size)

    def mask_of(canonical: torch.Tensor) -> torch.Tensor:
        return render_scene(scene, view, LIGHT, FOV, Canvas(canonical, background)).mask

    whole, left = torch.ones(1, 1, size, size), torch.zeros(1, 1, size, size)
    left[..., : size // 2] = 1
    covered = render_all(scene).covered
    torch.testing.assert_close(mask_of(whole), covered)
    torch.testing.assert_close(mask_of(left) + mask_of(1 - left), covered)


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_of_depth_view_albedo_and_light(shared):
    size = 6
    generator = torch.Generator().manual_seed(1)
    depth = head(size, torch.float64) + 0.01 * torch.rand(1 if shared else 2, 1, size, size, generator=generator)
    view = torch.tensor([[0.1, 0.3, 0.05, 0.002, -0.001, 0.01], [-0.2, -0.25, 0.1, 0.0, 0.001, 0]], dtype=torch.float64)
    albedo = texture(size, torch.float64).repeat(2, 1, 1, 1)
    light = torch.tensor([[0.5, 0.5, 0.2, -0.4], [0.6, 0.3, -0.1, 0.1]], dtype=torch.float64)

    def outputs(depth, albedo, view, light):
        render = render_all(Scene(depth.expand(2, -1, -1, -1), albedo, view, light))
        # Off the surface the border colour is repeated: a kink, but no part of the object.
        return render.image * render.mask, render.depth, render.grid * render.mask[:, 0, ..., None]

    inputs = tuple(t.requires_grad_() for t in (depth, albedo, view, light))
    assert torch.autograd.gradcheck(outputs, inputs, fast_mode=True)


@pytest.mark.parametrize("yaw_deg", [20.0, 60.0, 89.0, 90.0, 120.0])
def test_gradients_at_silhouettes_are_finite(yaw_deg):
    size = 64
    at = (torch.arange(size) + 0.5) / size * 2 - 1
    disc = ((at[None, :] ** 2 + at[:, None] ** 2) < 0.3).float()
    depth = (1.1 - 0.2 * disc)[None, None].requires_grad_()  # a cliff: its walls are stretched triangles
    view = view_of(yaw=yaw_deg).repeat(2, 1).requires_grad_()
    albedo = (torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) - 0.5).requires_grad_()
    render = render_all(Scene(depth.expand(2, -1, -1, -1), albedo, view, LIGHT.expand(2, -1)))
    on_surface = render.grid * render.mask[:, 0, ..., None]
    (render.image.square().mean() + render.depth.mean() + on_surface.mean()).backward()
    for tensor in (depth, view, albedo):
        assert tensor.grad.isfinite().all()


def test_a_view_behind_the_camera_draws_nothing():
    view = torch.tensor([[0.0, 0, 0, 0, 0, -5.0]])
    depth = head(16).requires_grad_()
    target, mask, grid = render_depth(depth, view, FOV)
    assert (mask == 0).all()
    assert grid.isfinite().all()
    (target.sum() + grid.sum()).backward()
    assert depth.grad.isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_draws_what_the_cpu_draws():
    scene = scene_of(VIEWS)
    here = render_all(scene)
    there = render_all(Scene(*(t.cuda() for t in (scene.depth, scene.albedo, scene.view, scene.light))))
    assert (here.mask != there.mask.cpu()).float().mean() < MAX_DIFFERENT
    assert ((here.depth - there.depth.cpu()).abs() > 1e-5).float().mean() < MAX_DIFFERENT
