import numpy as np
import pytest
import torch

from gan2shape.scene import camera, zbuffer
from gan2shape.scene.mesh_raster import interpolate, rasterize

from .oracles import brute_force, embree_first_hit

SIZE, FOV = 96, 12.0
MAX_DIFFERENT = 0.002  # share of pixels whose coverage may differ from an oracle's


def meshes() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    import trimesh

    rng = np.random.default_rng(0)
    soup = rng.uniform(-0.1, 0.1, (150, 3, 3)) * rng.uniform(0.05, 1, (150, 1, 1))
    shapes = {
        "sphere": trimesh.creation.icosphere(subdivisions=4, radius=0.08),
        "torus": trimesh.creation.torus(0.06, 0.025, major_sections=60, minor_sections=30),
        "box of large triangles": trimesh.creation.box(extents=(0.1, 0.05, 0.12)),
        "needles": trimesh.creation.cylinder(radius=0.07, height=0.15, sections=200),
    }
    found = {name: (np.asarray(shape.vertices), np.asarray(shape.faces)) for name, shape in shapes.items()}
    found["soup of crossing triangles"] = (soup.reshape(-1, 3), np.arange(450).reshape(-1, 3))
    return found


def pose(vertices: np.ndarray, angles=(0.4, -0.6, 0.3), shift=(0.003, -0.002, 0.1)) -> torch.Tensor:
    """Vertices [1, V, 3] in camera space, turned and moved to about z = 1.1."""
    points = torch.from_numpy(vertices)[None] + torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    return camera.move(points, torch.tensor([[*angles, *shift]], dtype=torch.float64))


def rasterized(points: torch.Tensor, faces: np.ndarray | torch.Tensor, size: int = SIZE):
    K = camera.intrinsics(size, FOV, dtype=points.dtype)
    return rasterize(camera.project(points, K), torch.as_tensor(np.asarray(faces)), size, size)


@pytest.mark.parametrize("name", meshes())
@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.4, -0.6, 0.3), (-1.2, 2.5, 0.1)])
def test_agrees_with_embree(name, angles):
    pytest.importorskip("embreex")
    vertices, faces = meshes()[name]
    points = pose(vertices, angles).float()
    truth_face, truth_depth = embree_first_hit(points[0].double().numpy(), faces, SIZE, FOV)
    found = rasterized(points, faces)
    face, depth = found.face[0].numpy(), found.depth[0].double().numpy()
    assert ((face >= 0) != (truth_face >= 0)).mean() < MAX_DIFFERENT
    both = (face >= 0) & (truth_face >= 0)
    assert both.mean() > 0.05
    same = both & (face == truth_face)
    assert np.abs(depth - truth_depth)[same].max() < 1e-5
    # Elsewhere two faces meet in the pixel: an edge, where the depths agree, or a silhouette.
    assert (np.abs(depth - truth_depth)[both] > 1e-5).mean() < MAX_DIFFERENT


@pytest.mark.parametrize("name", meshes())
def test_agrees_with_brute_force_in_double_precision(name):
    vertices, faces = meshes()[name]
    points, faces = pose(vertices), torch.as_tensor(faces)
    size = 24
    truth_face, truth_depth = brute_force(points[0], faces, size, FOV)
    found = rasterized(points, faces, size)
    assert ((found.face[0] >= 0) != (truth_face >= 0)).sum() <= 1
    # Depth keys are float32: of two faces nearer than 1e-7 to each other either may win.
    both = (found.face[0] >= 0) & (truth_face >= 0)
    torch.testing.assert_close(found.depth[0][both], truth_depth[both], atol=3e-7, rtol=0)


def test_weights_are_perspective_correct():
    points = torch.tensor([[[-0.05, -0.05, 0.7], [0.12, -0.04, 1.4], [0.0, 0.15, 2.0]]], dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2]])
    found = rasterized(points, faces)
    covered = found.face[0] == 0
    assert covered.sum() > 500
    K = camera.intrinsics(SIZE, FOV, dtype=torch.float64)
    hit = found.bary[0] @ points[0]
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    pixel = camera.project(hit.view(1, -1, 3), K).view(SIZE, SIZE, 3)[covered]
    torch.testing.assert_close(pixel[:, 0], column[covered] + 0.5, check_dtype=False)
    torch.testing.assert_close(pixel[:, 1], row[covered] + 0.5, check_dtype=False)
    torch.testing.assert_close(pixel[:, 2], found.depth[0][covered])
    torch.testing.assert_close(interpolate(points, faces, found)[0, 2], found.depth[0])


def test_uncovered_pixels_are_empty():
    points = torch.tensor([[[-0.05, 0.0, 1.0], [0.0, -0.05, 1.0], [0.05, 0.05, 1.0]]])
    found = rasterized(points, np.array([[0, 1, 2]]))
    empty = found.face < 0
    assert empty.any()
    assert (found.depth[empty] == 0).all()
    assert (found.bary[empty] == 0).all()
    assert (found.face[empty] == -1).all()


def test_a_triangle_covers_the_pixels_whose_centres_it_holds():
    # The corner pixels of a right triangle with its legs on pixel centres: the border counts.
    vertices = torch.tensor([[[1.5, 1.5, 1.0], [5.5, 1.5, 1.0], [1.5, 5.5, 1.0]]])
    found = rasterize(vertices, torch.tensor([[0, 1, 2]]), 8, 8).face[0] >= 0
    expected = torch.zeros(8, 8, dtype=torch.bool)
    for i in range(5):
        expected[1 + i, 1 : 6 - i] = True
    assert (found == expected).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_mesh_has_no_cracks(seed):
    # A fan of slivers round random points in float32 must tile the square: every pixel exactly covered.
    generator = torch.Generator().manual_seed(seed)
    n = 40
    grid = torch.stack(torch.meshgrid(torch.linspace(-3, 67, n), torch.linspace(-3, 67, n), indexing="xy"), -1)
    inner = grid[1:-1, 1:-1]
    inner += (torch.rand(inner.shape, generator=generator) - 0.5) * 1.7  # less than a cell: no folding of the border
    vertices = torch.cat([grid.reshape(-1, 2), torch.ones(n * n, 1)], -1)[None]
    index = torch.arange(n * n).view(n, n)
    a, b, c, d = (t.reshape(-1) for t in (index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]))
    faces = torch.cat([torch.stack([a, b, c], -1), torch.stack([b, d, c], -1)])
    assert (rasterize(vertices, faces, 64, 64).face >= 0).all()


def test_nearest_face_wins_whatever_the_order():
    near = torch.tensor([[-1.0, -1, 1.0], [20, -1, 1.0], [-1, 20, 1.0]])
    far = near + torch.tensor([0.0, 0, 1e-4])
    vertices = torch.cat([far, near])[None]
    for faces, winner in (([[0, 1, 2], [3, 4, 5]], 1), ([[3, 4, 5], [0, 1, 2]], 0)):
        assert (rasterize(vertices, torch.tensor(faces), 8, 8).face == winner).all()


@pytest.mark.parametrize(
    "corners",
    [
        pytest.param([[-5, -5, -1.0], [20, -5, -1.0], [-5, 20, -1.0]], id="behind the camera"),
        pytest.param([[-5, -5, 1.0], [20, -5, 1.0], [-5, 20, -1.0]], id="across the camera plane"),
        pytest.param([[-50, -5, 1.0], [-20, -5, 1.0], [-5, 20, 1.0]], id="left of the image"),
        pytest.param([[5, 90, 1.0], [20, 95, 1.0], [-5, 120, 1.0]], id="below the image"),
        pytest.param([[0, 0, 1.0], [4, 4, 1.0], [8, 8, 1.0]], id="no area"),
        pytest.param([[float("nan"), 0, 1.0], [4, 4, 1.0], [0, 8, 1.0]], id="not a number"),
        pytest.param([[0, 0, 1.0], [4, 4, float("inf")], [0, 8, 1.0]], id="infinitely far"),
    ],
)
def test_what_cannot_be_seen_is_dropped(corners):
    vertices = torch.tensor([corners]).requires_grad_()
    found = rasterize(vertices, torch.tensor([[0, 1, 2]]), 8, 8)
    assert (found.face == -1).all()
    found.depth.sum().backward()
    assert (vertices.grad == 0).all()


def test_no_faces_draw_nothing():
    found = rasterize(torch.zeros(2, 0, 3), torch.zeros(0, 3, dtype=torch.int64), 4, 6)
    assert found.face.shape == (2, 4, 6)
    assert (found.face == -1).all()


def test_images_of_a_batch_do_not_mix_and_need_not_be_square():
    vertices, faces = meshes()["torus"]
    points = torch.cat([pose(vertices), pose(vertices, (1.0, 0.2, 0.0)), pose(vertices, shift=(0.09, 0, 0.2))])
    pixels = camera.project(points, camera.intrinsics(SIZE, FOV, dtype=torch.float64))
    faces = torch.as_tensor(faces)
    together = rasterize(pixels, faces, 70, SIZE)
    for i in range(3):
        alone = rasterize(pixels[i : i + 1], faces, 70, SIZE)
        assert (together.face[i] == alone.face[0]).all()
        torch.testing.assert_close(together.depth[i], alone.depth[0])


def test_working_in_parts_changes_nothing(monkeypatch):
    vertices, faces = meshes()["soup of crossing triangles"]
    whole = rasterized(pose(vertices), faces)
    monkeypatch.setattr(zbuffer, "MAX_TESTS", 1000)  # less than the largest triangle's box
    parts = rasterized(pose(vertices), faces)
    assert (whole.face == parts.face).all()
    assert torch.equal(whole.depth, parts.depth)


def test_gradients_of_depth_weights_and_attributes():
    points = torch.tensor(
        [[[-0.05, -0.05, 0.7], [0.12, -0.04, 1.4], [0.0, 0.15, 1.6], [-0.2, 0.1, 1.1]]], dtype=torch.float64
    )
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    K = camera.intrinsics(5, FOV, dtype=torch.float64)
    attributes = torch.rand(1, 4, 2, dtype=torch.float64)

    def outputs(points, attributes):
        found = rasterize(camera.project(points, K), faces, 5, 5)
        return found.depth, found.bary, interpolate(attributes, faces, found)

    assert torch.autograd.gradcheck(outputs, (points.requires_grad_(), attributes.requires_grad_()))
