"""Where light does not reach: ambient occlusion read off the depth of an image, and shadows that objects cast."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.images import resized
from gan2shape.synth.objects import ObjectMesh
from gan2shape.synth.render import SUPERSAMPLE, SurfaceSamples, barycentric
from gan2shape.synth.scanline import nearest_face

RADII = 0.02, 0.05, 0.09  # of the rings that occlusion looks at, over the image's width
DIRECTIONS = 8
REACH = 1.2  # how far in front, over the ring's radius, something still occludes
PICTURE_WIDTH = 0.175  # scene units that an image's width shows at the object
SHADOW_SIDE = 160  # pixels of the map that a light sees
SHADOW_BIAS, NORMAL_BIAS = 0.0012, 0.0020  # scene units: what a surface must stand behind another, and away from itself
SHADOW_BLUR = 3  # pixels of the map over which a shadow's edge is soft


def ambient_occlusion(samples: SurfaceSamples) -> Float[Tensor, " N"]:
    """0 in the open ... 1: how much nearer the surroundings of each point are, on rings of pixels about it."""
    fine, middle = samples.fine, SUPERSAMPLE // 2
    size = fine // SUPERSAMPLE
    far = 2.0
    full = torch.full((samples.batch * fine * fine,), far)
    full[samples.index] = samples.depth
    depth = full.view(samples.batch, fine, fine)[:, middle::SUPERSAMPLE, middle::SUPERSAMPLE]
    total = torch.zeros_like(depth)
    margin = int(RADII[-1] * size) + 1
    padded = F.pad(depth, [margin] * 4, value=far)
    for radius in RADII:
        width = radius * PICTURE_WIDTH
        for k in range(DIRECTIONS):
            angle = torch.tensor((k + 0.5 * (radius == RADII[1])) / DIRECTIONS * 2 * torch.pi)
            dx, dy = (round(float(part) * radius * size) for part in (angle.cos(), angle.sin()))
            if (dx, dy) == (0, 0):
                continue
            other = padded[:, margin + dy : margin + dy + size, margin + dx : margin + dx + size]
            nearer = ((depth - other) / width).clamp(min=0)
            # a slope of 45 degrees is no hollow by itself: the opposite side decides, so the mean over a ring counts
            total += torch.where(nearer < REACH * 4, (nearer / REACH).clamp(max=1), 0.0)
    shade = (total / (len(RADII) * DIRECTIONS) * 1.6).clamp(max=1)
    shade = F.avg_pool2d(shade[:, None], 3, 1, 1)
    smooth = resized(shade, fine)
    return smooth.reshape(-1)[samples.index]


def cast_shadow(
    samples: SurfaceSamples,
    points: Float[Tensor, "N 3"],
    meshes: list[ObjectMesh],
    rotations: Float[Tensor, "B 3 3"],
    shifts: Float[Tensor, "B 3"],
    distance: list[float],
    towards: Float[Tensor, "B 3"],
) -> Float[Tensor, " N"]:
    """0 lit ... 1: whether something stands between each point (camera frame) and the light.

    Soft over a few pixels of a map that the light sees (orthographic). Alpha is not tested: holes cast shadows too.
    """
    corners, items = [], []
    item = samples.item
    centre = torch.zeros(len(meshes), 3)
    centre[:, 2] = torch.tensor(distance)
    outside = points - centre[item] + NORMAL_BIAS * samples.normal
    receivers = torch.empty_like(points)
    for i, mesh in enumerate(meshes):
        frame = _light_frame(towards[i])
        own = outside[item == i] @ frame.T
        low = own[:, :2].amin(0) if len(own) else torch.full((2,), -0.1)
        high = own[:, :2].amax(0) if len(own) else torch.full((2,), 0.1)
        scale = (SHADOW_SIDE - 2) / (high - low).clamp(min=1e-3).amax()
        seen = (torch.from_numpy(mesh.vertices) @ rotations[i].T + shifts[i]) @ frame.T
        for values, where in ((seen, None), (own, item == i)):
            placed = torch.cat([(values[:, :2] - low) * scale + 1, values[:, 2:] + 1], 1)
            if where is None:
                corners.append(placed[torch.from_numpy(mesh.faces)])
            else:
                receivers[where] = placed
        items.append(torch.full((len(mesh.faces),), i))

    triangles = torch.cat(corners)
    faces = nearest_face(triangles, torch.cat(items), len(meshes), SHADOW_SIDE, SHADOW_SIDE).view(len(meshes), -1)
    covered = faces.view(-1).clamp(min=0)
    pixel = torch.arange(SHADOW_SIDE**2).repeat(len(meshes))
    flat = torch.cat([triangles[..., :2], torch.ones_like(triangles[..., :1])], 2)[covered]
    weights, _ = barycentric(flat, pixel, SHADOW_SIDE)
    nearest = (weights * triangles[covered][..., 2]).sum(1)
    nearest = torch.where(faces.view(-1) >= 0, nearest, torch.inf).view(len(meshes), SHADOW_SIDE, SHADOW_SIDE)
    return _soft_compare(nearest, item, receivers)


def _soft_compare(
    nearest: Float[Tensor, "B M M"], item: Tensor, receivers: Float[Tensor, "N 3"]
) -> Float[Tensor, " N"]:
    """Share of the map's pixels about each receiver whose surface stands before it."""
    column, row = (receivers[:, k].floor().long() for k in (0, 1))
    total = torch.zeros(len(receivers))
    reach = SHADOW_BLUR // 2
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            x, y = (column + dx).clamp(0, SHADOW_SIDE - 1), (row + dy).clamp(0, SHADOW_SIDE - 1)
            total += nearest[item, y, x] < receivers[:, 2] - SHADOW_BIAS
    return total / SHADOW_BLUR**2


def _light_frame(towards: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """Rows: two directions across the light, and the direction that it travels in."""
    away = -towards
    helper = torch.tensor([0.0, 1.0, 0.0]) if abs(float(away[1])) < 0.9 else torch.tensor([1.0, 0.0, 0.0])
    across = F.normalize(torch.linalg.cross(helper, away), dim=0)
    return torch.stack([across, torch.linalg.cross(away, across), away])
