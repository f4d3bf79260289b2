"""Parametric human heads: a flat face with a nose, sockets, lips, a jaw, ears, a neck and hair.

Conventions are those of `head_form` while a head is built (centimetres); `build` scales and centres the result into the
object frame (x right, y down, z forward, the face towards -z). All heads share one scale, so size is visible.
"""

from dataclasses import dataclass, fields
from functools import cache

import numpy as np
from jaxtyping import Float, Int

from gan2shape.scene.mesh_normals import summed_normals
from gan2shape.synth.head_form import (
    AXIS_Z_CM,
    Grid,
    ear_offset,
    lengthen,
    make_grid,
    planar_fields,
    radial_fields,
    section_radius,
    smoothstep,
)
from gan2shape.synth.head_paint import grow_hair, hair_depth, paint
from gan2shape.synth.head_params import HeadParams, sample_params, truncated_normal
from gan2shape.synth.loft import grid_faces
from gan2shape.synth.objects import CategorySpec, ObjectMesh, ViewDistribution

UNITS_PER_CM = 0.0052  # the mean head fills three quarters of a picture at fov 10 degrees; the largest leaves a margin
N_ROWS, N_COLS = 64, 80
CROWN_RISE_CM = 0.01  # of the pole above its ring


@dataclass(frozen=True)
class HeadViews(ViewDistribution):
    """Frontal poses: azimuth and elevation normal about 0, redrawn beyond a limit."""

    azimuth_sd_deg: float = 20.0
    elevation_sd_deg: float = 8.0
    limit_sd: float = 2.25  # azimuth stays within 45 degrees, elevation within 18

    def sample(self, rng: np.random.Generator) -> tuple[float, float, float]:
        """Azimuth, elevation, roll in radians."""
        azimuth = self.azimuth_sd_deg * truncated_normal(rng, self.limit_sd)
        elevation = self.elevation_sd_deg * truncated_normal(rng, self.limit_sd)
        return float(np.deg2rad(azimuth)), float(np.deg2rad(elevation)), 0.0


def build(params: HeadParams) -> ObjectMesh:
    """The closed mesh of a head, in the object frame, with colour at its vertices."""
    points, faces, albedo = head_mesh_cm(params)
    centred = (points - (points.min(0) + points.max(0)) / 2) * UNITS_PER_CM
    at_corners = albedo.astype(np.float32)[faces]
    normals = _corner_normals(centred, faces).astype(np.float32)
    return ObjectMesh(centred.astype(np.float32), faces, at_corners.mean(1), normals, at_corners)


def head_mesh_cm(
    params: HeadParams,
) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"], Float[np.ndarray, "V 3"]]:
    """Vertices in cm, faces counter-clockwise from outside, and vertex albedo."""
    points, albedo = surface_cm(params, _grid())
    crown, base = points[0].mean(0) - np.array([0.0, CROWN_RISE_CM, 0.0]), points[-1].mean(0)
    vertices = np.concatenate([points.reshape(-1, 3), crown[None], base[None]])
    colours = np.concatenate([albedo.reshape(-1, 3), albedo[0].mean(0)[None], albedo[-1].mean(0)[None]])
    return vertices, capped_grid_faces(N_ROWS, N_COLS), colours


def surface_cm(p: HeadParams, grid: Grid) -> tuple[Float[np.ndarray, "R C 3"], Float[np.ndarray, "R C 3"]]:
    """Points in cm and albedo of the head on its grid, without the two poles that close it."""
    radius = section_radius(grid) + radial_fields(grid, p)
    x, y = radius * np.sin(grid.phi), np.broadcast_to(grid.y, radius.shape)
    z = AXIS_Z_CM - radius * np.cos(grid.phi)
    facing = smoothstep(np.abs(grid.phi), np.deg2rad(88), np.deg2rad(70))
    z = z - facing * planar_fields(x, grid.y, p) * smoothstep(grid.y, 9.0, 7.6)
    covered = smoothstep(hair_depth(grid, p), -0.5, 1.5)
    outwards, backwards = (offset * (1 - covered) for offset in ear_offset(grid, p))
    points = np.stack([x + np.sign(np.sin(grid.phi)) * outwards, y, z + backwards], -1)
    points, cover = grow_hair(points, grid, radius, p)
    albedo = paint(x, grid, cover, p)
    points[..., 1] = lengthen(points[..., 1], p)
    return points, albedo


@cache
def _grid() -> Grid:
    return make_grid(N_ROWS, N_COLS)


def capped_grid_faces(n_rows: int, n_cols: int) -> Int[np.ndarray, "F 3"]:
    """Faces of a grid closed along its columns, then a fan about each pole (vertices n_rows * n_cols and the next)."""
    ring = np.arange(n_cols)
    following = (ring + 1) % n_cols
    last, n = (n_rows - 1) * n_cols, n_rows * n_cols
    top = np.stack([ring, following, np.full(n_cols, n)], -1)
    bottom = np.stack([last + following, last + ring, np.full(n_cols, n + 1)], -1)
    return np.concatenate([grid_faces(n_rows, n_cols)[:, ::-1], top, bottom])


def _corner_normals(points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "F 3 3"]:
    """Smooth everywhere but at the neck's cut (the last N_COLS faces), which is flat with a sharp edge."""
    n_skin = len(faces) - N_COLS
    a, b, c = (points[faces[n_skin:, k]] for k in range(3))
    normals = summed_normals(points, faces[:n_skin])[faces]
    normals[n_skin:] = np.cross(b - a, c - a)[:, None]
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


SPEC = CategorySpec(
    name="head",
    n_params=len(fields(HeadParams)),
    sample=sample_params,
    build=build,
    views=HeadViews(),
    traits=(
        *("skin_tone", "hair_tone", "hair_length", "nose_length_cm", "nose_protrusion_cm", "nose_width_cm"),
        *("chin_protrusion_cm", "chin_width_cm"),
    ),
    learns_by_mirror=True,
)
