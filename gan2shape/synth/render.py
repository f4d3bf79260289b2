"""Render object meshes: colour for training, and the truth behind every pixel for the exam.

Conventions
-----------
* Views are (pitch, yaw, roll, tx, ty, tz), see `scene.camera`; an object's frame is centred at (0, 0, 1).
* Light = (ambient, diffuse, lx, ly): the direction towards the light is (lx, ly, -1) / norm in the CAMERA frame of the
  image it lights.
* Colour is the mean of 3 x 3 sub-samples of a pixel: albedo * (ambient + diffuse * max(0, n . l)) in stored (gamma)
  values, composited over a plain background; the mask is the covered fraction of them. Depth, normals and albedo are
  those of the surface point at the pixel CENTRE, which is the middle sub-sample: never blends across an outline.
* Values of images and albedo are in [-1, 1].
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gan2shape.core.images import to_uint8
from gan2shape.scene.camera import (
    CENTRE_Z,
    DEFAULT_FOV_DEG,
    intrinsics,
    project,
    rotation,
    rotation_to_angles,
)
from gan2shape.scene.light import light_direction
from gan2shape.synth.objects import ObjectMesh
from gan2shape.synth.scanline import nearest_face
from gan2shape.synth.texture import TextureStack

SUPERSAMPLE = 3  # sub-samples of a pixel in each direction; odd, so that one lies at the pixel's centre
FAR_DEPTH = 1.1  # depth where nothing is seen: the far end of the height field's range
DEFAULT_BACKGROUND = (0.92, 0.92, 0.92)  # image values in [0, 1]
NEAR = 1e-3  # scene units; faces that reach nearer than this, or behind the camera, are dropped
ALPHA_TEST = 0.5  # fragments of a texture whose alpha is below do not exist
CHUNK = 8  # images rendered at once; more does not make it faster on a CPU and takes memory


@dataclass(frozen=True)
class TruthRender:
    """Images of objects with what is known about each pixel."""

    image: Float[Tensor, "B 3 S S"]  # in [-1, 1], anti-aliased
    mask: Float[Tensor, "B 1 S S"]  # fraction of the pixel that the object covers
    hit: Bool[Tensor, "B 1 S S"]  # whether it covers the pixel's centre: where the following are defined
    depth: Float[Tensor, "B 1 S S"]  # z of the point at the pixel's centre; FAR_DEPTH where there is none
    normals: Float[Tensor, "B 3 S S"]  # unit, z < 0, camera frame; (0, 0, -1) where there is none
    albedo: Float[Tensor, "B 3 S S"]  # in [-1, 1]; the background where there is none
    region: UInt8[Tensor, "B 1 S S"]  # which of objects.REGIONS is seen at the pixel's centre; 0 where there is none


def turntable_view(azimuth_rad: float, elevation_rad: float, roll_rad: float = 0.0) -> Float[Tensor, "6"]:
    """View of an object rotated by `azimuth_rad` about its own vertical axis and seen from `elevation_rad` above.

    The turntable's rotation is Rz(roll) Rx(elevation) Ry(azimuth) and a view's is Rz Ry Rx, so its three angles differ
    (all three are non-zero for a car seen from above at an angle). Exact except at 90 degrees seen level, where the
    angles are not unique.
    """

    def rotated(pitch: float, yaw: float, roll: float) -> Tensor:
        return rotation(torch.tensor([pitch, yaw, roll], dtype=torch.float64))

    matrix = rotated(0.0, 0.0, roll_rad) @ rotated(elevation_rad, 0.0, 0.0) @ rotated(0.0, azimuth_rad, 0.0)
    return torch.cat([rotation_to_angles(matrix), torch.zeros(3, dtype=torch.float64)]).float()


def render_object(
    mesh: ObjectMesh,
    view: Float[Tensor, "B 6"],
    light: Float[Tensor, "B 4"],
    size: int = 64,
    fov_deg: float = DEFAULT_FOV_DEG,
    background: tuple[float, float, float] = DEFAULT_BACKGROUND,
) -> TruthRender:
    """One object under B views and lights, with its truth. `background` in [0, 1]; the rest as above."""
    backgrounds = torch.tensor(background).expand(len(view), 3)
    return render_objects([mesh] * len(view), view, light, backgrounds, size, fov_deg)


def render_objects(
    meshes: list[ObjectMesh],
    view: Float[Tensor, "B 6"],
    light: Float[Tensor, "B 4"],
    background: Float[Tensor, "B 3"],
    size: int = 64,
    fov_deg: float = DEFAULT_FOV_DEG,
) -> TruthRender:
    """B objects, each under its own view, light and background colour (in [0, 1])."""
    parts = []
    for i in range(0, len(meshes), CHUNK):
        part = slice(i, i + CHUNK)
        samples = sample_surfaces(meshes[part], view[part], size * SUPERSAMPLE, [fov_deg] * len(view[part]))
        image = resolve(samples, lambert(samples, light[part]), background[part], size)
        parts.append(truth_of(samples, image, background[part], size))
    return join(parts)


def join(parts: list[TruthRender]) -> TruthRender:
    """Renders one after the other."""
    names = [field.name for field in fields(TruthRender)]
    return TruthRender(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def render_colour(
    meshes: list[ObjectMesh],
    view: Float[Tensor, "B 6"],
    light: Float[Tensor, "B 4"],
    background: Float[Tensor, "B 3"],
    size: int = 64,
    fov_deg: float = DEFAULT_FOV_DEG,
) -> np.ndarray:
    """The fast path for training images: uint8 [B, S, S, 3], nothing else."""
    samples = sample_surfaces(meshes, view, size * SUPERSAMPLE, [fov_deg] * len(view))
    image = resolve(samples, lambert(samples, light), background, size)
    return to_uint8(image, lowest=0.0)


@dataclass(frozen=True)
class SurfaceSamples:
    """The covered sub-samples of a batch (N of them), as flat arrays."""

    index: Tensor  # [N] position in the flattened [B, S * k, S * k]
    depth: Tensor  # [N]
    normal: Tensor  # [N, 3], camera frame
    albedo: Tensor  # [N, 3], in [0, 1]
    region: Tensor  # [N], number of one of objects.REGIONS
    batch: int
    fine: int  # width of the image in sub-samples, S * k

    @property
    def item(self) -> Tensor:
        """[N], the image that each belongs to."""
        return self.index // (self.fine * self.fine)


def lambert(samples: SurfaceSamples, light: Float[Tensor, "B 4"]) -> Float[Tensor, "N 3"]:
    """Colour in [0, 1] of the plain rendering: albedo * (ambient + diffuse * max(0, n . l)), in stored values."""
    item = samples.item
    cosine = (samples.normal * light_direction(light)[item]).sum(-1).clamp(min=0)
    shading = light[item, 0] + light[item, 1] * cosine
    return (samples.albedo * shading[:, None]).clamp(max=1)


def truth_of(
    samples: SurfaceSamples, image: Float[Tensor, "B 3 S S"], background: Float[Tensor, "B 3"], size: int
) -> TruthRender:
    """What is known about an `image` (in [0, 1]) that these sub-samples make. `background`: the albedo around."""
    fine, batch = size * SUPERSAMPLE, samples.batch
    ones, nothing = torch.ones(len(samples.index), 1), torch.zeros(batch, 1)
    mask = resolve(samples, ones, nothing, size)
    middle = SUPERSAMPLE // 2

    def at_centres(values: Tensor, elsewhere: Tensor) -> Tensor:
        full = elsewhere[:, None].repeat(1, fine * fine, 1).reshape(-1, values.shape[1])
        full[samples.index] = values
        full = full.view(samples.batch, fine, fine, -1)[:, middle::SUPERSAMPLE, middle::SUPERSAMPLE]
        return full.permute(0, 3, 1, 2).contiguous()

    facing = torch.tensor([[0.0, 0.0, -1.0]]).expand(batch, 3)
    return TruthRender(
        image=image * 2 - 1,
        mask=mask,
        hit=at_centres(ones, nothing) > 0,
        depth=at_centres(samples.depth[:, None], torch.full((batch, 1), FAR_DEPTH)),
        normals=at_centres(samples.normal, facing),
        albedo=at_centres(samples.albedo, background) * 2 - 1,
        region=at_centres(samples.region[:, None].float(), nothing).to(torch.uint8),
    )


@torch.no_grad()
def sample_surfaces(
    meshes: list[ObjectMesh],
    view: Float[Tensor, "B 6"],
    fine: int,
    fov_deg: list[float],
    distance: list[float] | None = None,
) -> SurfaceSamples:
    """Transform, cull and rasterise. `fine`: the width of an image in sub-samples; `fov_deg` and `distance` (from
    the camera to the object, 1 unless given) of each image. Depth is z - distance + 1.
    """
    rotations = rotation(view[:, :3])
    away = [CENTRE_Z] * len(meshes) if distance is None else distance
    corners, fronts, items, kepts = [], [], [], []
    for i, (mesh, own, shift) in enumerate(zip(meshes, rotations, view[:, 3:], strict=True)):
        points = torch.from_numpy(mesh.vertices) @ own.T + shift
        points[:, 2] += away[i]
        faces = torch.from_numpy(mesh.faces)
        triangle = points[faces]  # [F, 3 corners, 3]
        a, b, c = triangle.unbind(1)
        # Back faces of closed meshes are never seen. Faces that reach behind the camera are dropped.
        front = (torch.linalg.cross(b - a, c - a) * a).sum(-1) < 0
        visible = front if mesh.both_sided is None else front | torch.from_numpy(mesh.both_sided)
        kept = (visible & (triangle[..., 2].amin(1) > NEAR)).nonzero().squeeze(1)
        corners.append(project(points[None], intrinsics(fine, fov_deg[i]))[0][faces[kept]])
        fronts.append(front[kept])
        items.append(torch.full((len(kept),), i))
        kepts.append(kept)
    corners_px = torch.cat(corners)
    textures = TextureStack.of(meshes, kepts)
    shows = None
    if textures is not None and textures.cut_out.any():

        def shows(face: Tensor, pixel: Tensor) -> Tensor:
            exists = torch.ones(len(face), dtype=torch.bool)
            tested = textures.cut_out[face].nonzero().squeeze(1)
            bary, _ = barycentric(corners_px[face[tested]], pixel[tested], fine)
            exists[tested] = textures.alpha(face[tested], bary) >= ALPHA_TEST
            return exists

    face = nearest_face(corners_px, torch.cat(items), len(meshes), fine, fine, shows).flatten()
    index = (face >= 0).nonzero().squeeze(1)
    chosen = face[index]
    bary, depth = barycentric(corners_px[chosen], index % (fine * fine), fine)
    parts, first = [], 0
    seen = chosen.split(torch.bincount(index // (fine * fine), minlength=len(meshes)).tolist())  # image by image
    for mesh, own, front, kept, here in zip(meshes, rotations, fronts, kepts, seen, strict=True):
        parts.append(_surface(mesh, own, kept[here - first], front[here - first]))
        first += len(kept)
    normals, albedos, region = (torch.cat(column) for column in zip(*parts, strict=True))
    normal = F.normalize((normals * bary[..., None]).sum(1), dim=-1)
    albedo = (albedos * bary[..., None]).sum(1)
    if textures is not None:
        painted = textures.painted[chosen].nonzero().squeeze(1)
        albedo[painted] = textures.colour(chosen[painted], bary[painted])
    if distance is not None:
        depth = depth - (torch.tensor(distance) - CENTRE_Z)[index // (fine * fine)]
    return SurfaceSamples(index, depth, normal, albedo, region, len(meshes), fine)


def _surface(mesh: ObjectMesh, own: Tensor, face: Tensor, front: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Corner normals in the camera frame [N, 3, 3], corner albedo [N, 3, 3] and region [N] of triangles of a mesh."""
    outwards = torch.from_numpy(mesh.corner_normals)[face] @ own.T
    if mesh.both_sided is not None:  # a surface seen from behind shows its other side
        outwards = torch.where(front[:, None, None], outwards, -outwards)
    if mesh.corner_albedo is not None:
        albedo = torch.from_numpy(mesh.corner_albedo)[face]
    else:
        albedo = torch.from_numpy(mesh.face_albedo)[face, None].expand(-1, 3, -1)
    region = torch.ones(len(face)) if mesh.region is None else torch.from_numpy(mesh.region)[face]
    return outwards, albedo, region


def barycentric(corners_px: Tensor, pixel: Tensor, fine: int) -> tuple[Tensor, Tensor]:
    """Perspective-correct weights [N, 3] and depth [N] of triangles [N, 3, 3] at the centres of flat `pixel`s."""
    x, y = (pixel % fine).float() + 0.5, torch.div(pixel, fine, rounding_mode="floor").float() + 0.5
    u, v = corners_px[..., 0] - x[:, None], corners_px[..., 1] - y[:, None]
    # Double area of the triangle that the centre makes with the edge opposite each corner.
    edges = u.roll(-1, 1) * v.roll(-2, 1) - v.roll(-1, 1) * u.roll(-2, 1)
    weights = edges / corners_px[..., 2]
    total = weights.sum(-1)
    return weights / total[:, None], edges.sum(-1) / total


def resolve(samples: SurfaceSamples, values: Tensor, background: Tensor, size: int) -> Float[Tensor, "B C S S"]:
    """Mean over each pixel's sub-samples, uncovered ones taking the background: [B, C, S, S]."""
    fine = size * SUPERSAMPLE
    pixel = samples.index % (fine * fine)
    row, col = torch.div(pixel, fine * SUPERSAMPLE, rounding_mode="floor"), (pixel % fine) // SUPERSAMPLE
    item = samples.index // (fine * fine)
    target = (item * size + row) * size + col
    full = background[:, None].repeat(1, size * size, 1).reshape(-1, values.shape[1])
    full.index_add_(0, target, (values - background[item]) / SUPERSAMPLE**2)
    return full.view(samples.batch, size, size, -1).permute(0, 3, 1, 2).contiguous()
