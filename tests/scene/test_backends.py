"""`render.backend`: PyTorch3D's rasteriser gives what ours gives, and its absence is one sentence."""

import sys

import pytest
import torch

from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.prior.open import open_prior
from gan2shape.scene import height_field
from gan2shape.scene.pytorch3d_raster import INSTRUCTIONS, rasterize_grid, require_pytorch3d
from gan2shape.scene.render import render_depth
from gan2shape.scene.zbuffer import NEAR

SIZE = 24
FOV_DEG = 10.0


def ball(size: int = SIZE) -> torch.Tensor:
    """A ball before a flat background."""
    at = (torch.arange(size) + 0.5) / size * 2 - 1
    return (1.05 - 0.1 * (1 - (at[None, :] ** 2 + at[:, None] ** 2) / 0.6).clamp(min=0).sqrt())[None, None]


def views(n: int) -> torch.Tensor:
    """The identity view, then wide ones that tear the outline open."""
    spread = torch.tensor([0.1, 0.4, 0.2, 0.01, 0.01, 0.02])
    drawn = torch.randn(n, 6, generator=torch.Generator().manual_seed(3)) * spread
    drawn[0] = 0.0
    return drawn


@pytest.fixture
def pytorch3d() -> None:
    pytest.importorskip("pytorch3d.renderer.mesh", reason="PyTorch3D is built by its own instructions")


def rendered(backend: str, pixel: float = 0.0):
    """Depth, mask, grid and the gradients of depth and view, of a fixed function of depth and grid."""
    depth, view = ball().requires_grad_(), (views(6) + pixel).requires_grad_()
    target, mask, grid = render_depth(depth, view, FOV_DEG, backend=backend)
    weights = torch.rand(target.shape, generator=torch.Generator().manual_seed(5))
    ((target * weights).sum() + 0.1 * (grid * weights[:, 0, ..., None]).sum()).backward()
    return target.detach(), mask, grid.detach(), depth.grad, view.grad


def test_depth_mask_grid_and_gradients_agree(pytorch3d) -> None:
    ours, theirs = rendered("torch"), rendered("pytorch3d")
    assert 0.3 < ours[1].mean() < 1.0  # some of the wide views show what nothing covers
    same = ours[1] == theirs[1]
    assert same.float().mean() > 0.998  # centres on an outline may fall to either side
    near = (ours[0] - theirs[0]).abs() < 1e-5
    assert near[same].float().mean() > 0.998  # where two surfaces meet, the nearer one by a rounding error
    assert (ours[2] - theirs[2]).abs().amax(-1)[(same & near)[:, 0]].max() < 1e-4
    for our, their in zip(ours[3:], theirs[3:], strict=True):
        assert torch.nn.functional.cosine_similarity(our.flatten(), their.flatten(), dim=0) > 0.999
        assert torch.isfinite(their).all()


def test_the_identity_view_is_covered_whole(pytorch3d) -> None:
    target, mask, grid = render_depth(ball(), torch.zeros(1, 6), FOV_DEG, backend="pytorch3d")
    assert mask.min() == 1.0  # every centre is the corner of six faces
    torch.testing.assert_close(target, ball(), atol=2e-6, rtol=0.0)
    own = (torch.arange(SIZE) + 0.5) * 2 / SIZE - 1
    torch.testing.assert_close(grid[0, :, :, 0], own.expand(SIZE, -1), atol=1e-5, rtol=0.0)


def test_bad_vertices_drop_their_faces_only(pytorch3d) -> None:
    at = torch.arange(6.0) - 0.7
    u, v, z = at.expand(1, 6, 6), at[:, None].expand(1, 6, 6), torch.ones(1, 6, 6)
    z[0, 2, 2], z[0, 4, 4] = torch.nan, NEAR / 2
    depth, covered = rasterize_grid(u, v, z, 4, 4)
    assert torch.equal(covered, height_field.rasterize_grid(u, v, z, 4, 4)[1])
    assert 0 < covered.sum() < 16
    torch.testing.assert_close(depth[covered], torch.ones(int(covered.sum())))
    with pytest.raises(ValueError, match="square"):
        rasterize_grid(u, v, z, 4, 5)


def test_absence_is_one_sentence_with_the_instructions(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer.mesh", None)
    for attempt in (
        require_pytorch3d,
        lambda: render_depth(ball(), views(1), FOV_DEG, backend="pytorch3d"),
        lambda: open_prior("car", preset="instant", overrides=("render.backend=pytorch3d",), device="cpu"),
    ):
        with pytest.raises(UserError, match="needs PyTorch3D") as caught:
            attempt()
        assert INSTRUCTIONS in str(caught.value)
        assert "render.backend=torch" in str(caught.value)


def test_other_names_are_refused() -> None:
    with pytest.raises(UserError, match="write torch or pytorch3d"):
        compose(ShapeConfig, "car", "draft", ("render.backend=opengl",))
