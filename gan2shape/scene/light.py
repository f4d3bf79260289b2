"""Normals of a depth map, Lambert shading, and lights seen from another frame.

Conventions
-----------
* Normals have unit length and point to the camera (z < 0).
* light = (ambient, diffuse, lx, ly); the direction TOWARDS the light is (lx, ly, -1) / norm. y is down, so a light
  above has ly < 0 and brightens the top. (The published code points normals and light into the scene: its lx, ly enter
  negated.)
* Image and albedo values lie in [-1, 1]; shading multiplies (value + 1) / 2, as stored (gamma-encoded) unless `linear`.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.scene.camera import DEFAULT_FOV_DEG, focal_px, pixel_slopes

GAMMA = 2.2  # display exponent of `linear=True`
MIN_LINEAR = 1e-4  # below this the power has an unbounded slope


def normals_from_depth(depth: Float[Tensor, "B 1 S S"], fov_deg: float = DEFAULT_FOV_DEG) -> Float[Tensor, "B 3 S S"]:
    """Unit normals by central differences of the unprojected points; one-sided of the same order at the border."""
    size = depth.shape[-1]
    if size < 3:
        raise ValueError(f"normals need at least 3 x 3 pixels, not {size}")
    z = depth[:, 0]
    ray = pixel_slopes(size, fov_deg, depth)
    du, dv = _difference(z, -1), _difference(z, -2)
    # P = z (x, y, 1) with the ray slopes x(u), y(v). The cross product dP/dv x dP/du is, up to the positive factor z *
    # step, (du, dv, -z*step - x du - y dv): the terms of second order cancel.
    step = 1 / focal_px(size, fov_deg)
    normal = torch.stack([du, dv, -z * step - ray * du - ray[:, None] * dv], 1)
    return F.normalize(normal, dim=1)


def _difference(z: Tensor, dim: int) -> Tensor:
    """Change per pixel along `dim`, same shape, exact for quadratics."""
    size = z.shape[dim]
    inner = (z.narrow(dim, 2, size - 2) - z.narrow(dim, 0, size - 2)) / 2
    first, second, third = (z.narrow(dim, i, 1) for i in range(3))
    last, before, earlier = (z.narrow(dim, size - 1 - i, 1) for i in range(3))
    head = (4 * second - 3 * first - third) / 2
    tail = (3 * last - 4 * before + earlier) / 2
    return torch.cat([head, inner, tail], dim)


def light_direction(light: Float[Tensor, "B 4"]) -> Float[Tensor, "B 3"]:
    """Unit direction towards the light, (lx, ly, -1) / norm."""
    return F.normalize(torch.cat([light[:, 2:], -torch.ones_like(light[:, :1])], 1), dim=1)


def diffuse_cosine(normals: Float[Tensor, "#B 3 S S"], light: Float[Tensor, "#B 4"]) -> Float[Tensor, "#B 1 S S"]:
    """Diffuse shading before its strength, max(0, n . l), in [0, 1]."""
    towards = light_direction(light)[:, :, None, None]
    cosine = normals[:, :1] * towards[:, :1] + normals[:, 1:2] * towards[:, 1:2] + normals[:, 2:] * towards[:, 2:]
    return cosine.clamp(min=0)


def shade(normals: Float[Tensor, "#B 3 S S"], light: Float[Tensor, "#B 4"]) -> Float[Tensor, "#B 1 S S"]:
    """Lambert shading: ambient + diffuse * max(0, n . l). A batch of 1 on either side is shared."""
    ambient, diffuse = light[:, 0, None, None, None], light[:, 1, None, None, None]
    return ambient + diffuse * diffuse_cosine(normals, light)


def apply_light(
    albedo: Float[Tensor, "#B 3 S S"], shading: Float[Tensor, "#B 1 S S"], *, linear: bool = False
) -> Float[Tensor, "#B 3 S S"]:
    """Image = (albedo / 2 + .5) * shading * 2 - 1; not clipped. `linear` multiplies in linear light (gamma 2.2)."""
    if linear:
        lit = (albedo / 2 + 0.5).clamp(min=MIN_LINEAR) ** GAMMA * shading
        return lit.clamp(min=MIN_LINEAR**GAMMA) ** (1 / GAMMA) * 2 - 1
    return torch.addcmul(shading - 1, albedo, shading)  # the same in one pass


def light_in_front(light: Float[Tensor, "#B 4"], matrix: Float[Tensor, "#B 3 3"]) -> Bool[Tensor, " B"]:
    """Whether the light, re-expressed by x' = matrix x, still lies in front of the object (z < 0)."""
    return _rotated_direction(light, matrix)[:, 2] < 0


def rotate_light(light: Float[Tensor, "#B 4"], matrix: Float[Tensor, "#B 3 3"]) -> Float[Tensor, "#B 4"]:
    """The same light in the frame x' = matrix x; ambient and diffuse stay.

    Camera to canonical frame: `rotate_light(light, rotation(view[:, :3]).transpose(1, 2))`.
    Raises UserError when the light gets behind the object, which (lx, ly, -1) cannot express (`light_in_front` tells).
    """
    direction = _rotated_direction(light, matrix)
    if bool((direction[:, 2] >= 0).any()):
        raise UserError(
            "The light is behind the object in the other frame: choose a smaller light angle or view change."
        )
    return torch.cat([light[:, :2].expand(len(direction), -1), direction[:, :2] / -direction[:, 2:]], 1)


def _rotated_direction(light: Tensor, matrix: Tensor) -> Tensor:
    return (matrix @ light_direction(light)[..., None]).squeeze(-1)
