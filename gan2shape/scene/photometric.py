"""Form from shading: normals of one view from pictures under several lights, and the depth that has them.

Photometric stereo (Woodham 1980) for the project's own shading, ambient + diffuse max(0, n . l), robust to pixels that
some picture shows wrongly; then a screened Poisson equation, which takes fine form from normals and coarse form from a
depth that was known before (Nehab et al. 2005).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.scene.camera import DEFAULT_FOV_DEG, focal_px, pixel_slopes
from gan2shape.scene.light import light_direction, shade

N_STEPS = 8  # Gauss-Newton, reweighted
TOLERANCE = 0.03  # of an intensity in [0, 1]: farther off a picture has less say (Huber)
LEAST_ALBEDO = 0.05
LEAST_FACING = 0.05  # -z of a normal: none turns away from the camera
STEEPEST = 8.0  # depth steps, in the pixel's own width, beyond which a normal is not followed
LEAST_SQUARE = 1e-20  # of a residual: the equation is solved
N_CONTINUED_PX = 3  # beyond the mask, so that normals at its rim have neighbours


def photometric_normals(
    intensity: Float[Tensor, "K 1 S S"],
    lights: Float[Tensor, "K 4"],
    initial: Float[Tensor, "1 3 S S"],
    nearness: float,
) -> Float[Tensor, "1 3 S S"]:
    """Unit normals that explain K pictures under these lights best, with one albedo for each pixel.

    intensity: in [0, 1]. initial: normals to begin at; `nearness` holds each normal there, as so many pictures for each
    of the K would. Source: the docstring above; albedo times normal is what is solved for, three numbers a pixel.
    """
    n_pictures, size = len(intensity), intensity.shape[-1]
    seen = intensity.flatten(1).T
    towards, ambient, diffuse = light_direction(lights), lights[:, 0], lights[:, 1]
    shading = shade(initial, lights).flatten(1).T
    albedo = ((shading * seen).sum(1) / shading.square().sum(1).clamp_min(1e-6)).clamp_min(LEAST_ALBEDO)
    start = initial[0].flatten(1).T
    lit = start * albedo[:, None]  # albedo x normal
    hold = n_pictures * nearness * torch.eye(3, device=lit.device, dtype=lit.dtype)
    for _ in range(N_STEPS):
        albedo = lit.norm(dim=1).clamp_min(1e-3)
        cosine = lit @ towards.T
        misfit = ambient * albedo[:, None] + diffuse * cosine.clamp_min(0) - seen
        weight = 1 / (misfit.abs() / TOLERANCE).clamp_min(1)
        slope = ambient[:, None] * (lit / albedo[:, None])[:, None]
        slope = slope + (diffuse * (cosine > 0))[..., None] * towards
        weighted = slope * weight[..., None]
        matrix = weighted.mT @ slope + hold
        right = -(weighted.mT @ misfit[..., None]).squeeze(-1) - (lit - start * albedo[:, None]) @ hold
        lit = lit + torch.linalg.solve_ex(matrix, right).result  # `_ex`: nothing waits for the device
        nearest = -LEAST_FACING * lit.norm(dim=1, keepdim=True)
        lit = torch.cat([lit[:, :2], torch.minimum(lit[:, 2:], nearest)], 1)
    return F.normalize(lit, dim=1).T.reshape(1, 3, size, size)


def depth_steps(
    normals: Float[Tensor, "1 3 S S"], fov_deg: float = DEFAULT_FOV_DEG
) -> tuple[Float[Tensor, "1 1 S S"], Float[Tensor, "1 1 S S"]]:
    """Change of log depth per pixel to the right and down that these normals mean: the inverse of
    `light.normals_from_depth`, exact at any field of view.
    """
    size = normals.shape[-1]
    ray, width = pixel_slopes(size, fov_deg, normals), 1 / focal_px(size, fov_deg)
    across, down, towards = normals.unbind(1)
    facing = -(towards + ray * across + ray[:, None] * down)
    facing = facing.clamp_min(1 / STEEPEST)
    return (width * across / facing)[:, None], (width * down / facing)[:, None]


def depth_with_normals(
    depth: Float[Tensor, "1 1 S S"],
    normals: Float[Tensor, "1 3 S S"],
    mask: Float[Tensor, "1 1 S S"],
    cutoff_px: float,
    fov_deg: float = DEFAULT_FOV_DEG,
    n_steps: int = 100,
) -> Float[Tensor, "1 1 S S"]:
    """The depth inside `mask` whose normals are these where form is finer than `cutoff_px`, and which is `depth` where
    it is coarser: min over log z of sum |grad log z - g|^2 + |log z - log depth|^2 / cutoff^2.

    Conjugate gradients of a fixed number of steps, so that nothing waits for a device; about four times `cutoff_px` are
    enough.
    """
    inside = (mask > 0.5).to(depth)
    right, down = depth_steps(normals, fov_deg)
    begin = depth.log()
    pairs = inside[..., 1:] * inside[..., :-1], inside[..., 1:, :] * inside[..., :-1, :]
    wanted = (right[..., 1:] + right[..., :-1]) / 2, (down[..., 1:, :] + down[..., :-1, :]) / 2

    def spread(x: Tensor, y: Tensor) -> Tensor:  # the transpose of both differences
        x, y = x * pairs[0], y * pairs[1]
        return F.pad(x, (1, 0)) - F.pad(x, (0, 1)) + F.pad(y, (0, 0, 1, 0)) - F.pad(y, (0, 0, 0, 1))

    def differences(z: Tensor) -> tuple[Tensor, Tensor]:
        return z[..., 1:] - z[..., :-1], z[..., 1:, :] - z[..., :-1, :]

    def applied(z: Tensor) -> Tensor:
        return spread(*differences(z)) + inside * z / cutoff_px**2

    have = differences(begin)
    residual = spread(wanted[0] - have[0], wanted[1] - have[1])
    change, direction, square = torch.zeros_like(depth), residual, residual.square().sum()
    for _ in range(n_steps):
        along = applied(direction)
        step = square / (direction * along).sum().clamp_min(LEAST_SQUARE)
        change, residual = change + step * direction, residual - step * along
        square, before = residual.square().sum(), square
        direction = residual + square / before.clamp_min(LEAST_SQUARE) * direction
    return (begin + _continued(change, inside)).exp()


def _continued(change: Float[Tensor, "1 1 S S"], inside: Float[Tensor, "1 1 S S"]) -> Float[Tensor, "1 1 S S"]:
    """A change inside a mask, spread some pixels beyond it."""
    ones, known = change.new_ones(1, 1, 3, 3), inside
    for _ in range(N_CONTINUED_PX):
        total, n = F.conv2d(change * known, ones, padding=1), F.conv2d(known, ones, padding=1)
        change, known = torch.where(known > 0, change, total / n.clamp_min(1)), (n > 0).to(change)
    return change
