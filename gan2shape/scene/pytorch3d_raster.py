"""The height field's rasteriser by PyTorch3D (Ravi et al. 2020), where it can be imported: `render.backend=pytorch3d`.

Its CPU rasteriser tests every pixel against every face and is far slower than `height_field`; it is there to be
compared with, and for machines that trust it. It is no dependency and has no extra: its own instructions say how to
build it.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import DEFAULT_BACKEND
from gan2shape.core.errors import UserError
from gan2shape.scene.height_field import grid_faces
from gan2shape.scene.zbuffer import NEAR

INSTRUCTIONS = "https://github.com/facebookresearch/pytorch3d/blob/main/INSTALL.md"
# Squared distance in normalised coordinates (an image is 2 wide) within which a pixel centre belongs to a face. With 0,
# centres on a border belong to none, and in the identity view all of them are corners.
BORDER = 1e-10


def require_backend(name: str) -> None:
    """Raises UserError where `render.backend` names what cannot be imported."""
    if name != DEFAULT_BACKEND:
        require_pytorch3d()


def require_pytorch3d() -> tuple[Callable, type]:
    """PyTorch3D's rasteriser and its class of meshes. Raises UserError where it cannot be imported."""
    try:
        from pytorch3d.renderer.mesh import rasterize_meshes
        from pytorch3d.structures import Meshes
    except (ImportError, OSError) as error:
        raise UserError(
            f"render.backend=pytorch3d needs PyTorch3D, which cannot be imported here ({error}): "
            f"install it as {INSTRUCTIONS} says, or leave render.backend=torch."
        ) from error
    return rasterize_meshes, Meshes


def rasterize_grid(
    u: Float[Tensor, "B V V"], v: Float[Tensor, "B V V"], z: Float[Tensor, "B V V"], height: int, width: int
) -> tuple[Float[Tensor, "B H W"], Tensor]:
    """(depth, covered) as `height_field.rasterize_grid` gives them, of square images; depth and its gradients are
    PyTorch3D's. Raises UserError where it cannot be imported.
    """
    if height != width:
        raise ValueError(f"PyTorch3D's coordinates are used for square images, not {height} x {width}")
    rasterize_meshes, Meshes = require_pytorch3d()
    u, v, z = (t.flatten(1) for t in (u, v, z))
    good = z.isfinite() & (z > NEAR)
    # Its camera frame has x to the left and y up; the image spans -1 to 1, and pixel centres agree.
    points = torch.stack([1 - u * (2 / width), 1 - v * (2 / height), z], -1)
    points = torch.where(good[..., None], points, 1.0)
    faces = grid_faces(int(z.shape[1] ** 0.5 + 0.5), z.device)
    meshes = Meshes(list(points), [faces[kept] for kept in good[:, faces].all(-1)])
    _, depth, _, _ = rasterize_meshes(
        meshes, image_size=height, blur_radius=BORDER, faces_per_pixel=1, perspective_correct=True
    )
    depth = depth[..., 0]
    return depth, depth.detach() > 0
