"""Families of real meshes: free-form deformation axis by axis, mirror image, new colours."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from gan2shape.synth.loose import TO_OBJECT, corner_normals, reach_of
from gan2shape.synth.objects import ObjectMesh
from gan2shape.synth.repaint import NewColours, repainted
from gan2shape.synth.shape_assets import BaseMesh

BRIGHTEST = 0.9  # albedo of triangles without texture never exceeds it


@dataclass(frozen=True)
class Deformation:
    """Of a mesh with +Y up and +Z front; triples are width, height, depth. Every axis stays monotone."""

    stretch: tuple[float, float, float]
    bend: tuple[float, float, float]  # > 0: the middle grows and the ends shrink
    shift: tuple[float, float, float]  # > 0: parts move to the right, up, to the front
    taper: tuple[float, float]  # how much less wide, and less deep, the top is than what lies below `taper_from`
    taper_from: float  # height, from -1 at the bottom to 1 at the top
    mirrored: bool
    longest_side: float  # scene units

    def of(self, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
        """The vertices deformed, centred and scaled to the scene; still +Y up."""
        extent = np.maximum(np.abs(vertices).max(0), 1e-6)
        q = np.clip(vertices / extent, -1, 1)
        q = q + 0.5 * np.array(self.bend) * (q - q**3) + np.array(self.shift) * (1 - q**2)
        points = q * extent * np.array(self.stretch)
        above = np.clip((q[:, 1] - self.taper_from) / (1 - self.taper_from), 0, 1)
        points[:, 0] *= 1 - self.taper[0] * above
        points[:, 2] *= 1 - self.taper[1] * above
        if self.mirrored:
            points[:, 0] *= -1
        low, high = points.min(0), points.max(0)
        return (points - (low + high) / 2) * (self.longest_side / reach_of(high - low))

    @property
    def order(self) -> list[int]:
        """In which order a triangle's corners are walked: a mirrored one the other way round."""
        return [2, 1, 0] if self.mirrored else [0, 1, 2]


def sample_deformation(
    rng: np.random.Generator,
    stretch_sd: tuple[float, float, float],
    most: float,
    bend: float,
    shift: float,
    taper_sd: tuple[float, float],
    taper_from: float,
    longest_side: tuple[float, float],
) -> Deformation:
    """Logarithms of the stretches are normal within +-`most`; bends and shifts are uniform, tapers half normal."""
    spread = np.clip(np.array(stretch_sd) * rng.normal(0, 1, 3), -most, most)
    bends, shifts = (tuple(float(v) for v in rng.uniform(-limit, limit, 3)) for limit in (bend, shift))
    return Deformation(
        stretch=tuple(float(v) for v in np.exp(spread)),
        bend=bends,
        shift=shifts,
        taper=tuple(float(max(0.0, rng.normal(0.0, sd))) for sd in taper_sd),
        taper_from=taper_from,
        mirrored=bool(rng.uniform() < 0.5),
        longest_side=float(rng.uniform(*longest_side)),
    )


def family_mesh(
    base: BaseMesh, upright: Float[np.ndarray, "V 3"], form: Deformation, colours: NewColours, style: str
) -> ObjectMesh:
    """The base with its vertices at `upright` (deformed, +Y up) and its textures repainted, in the object frame."""
    order = form.order
    points = upright * TO_OBJECT
    normals = corner_normals(points, base.faces, base.pairs)[:, order]
    albedo = np.clip(base.rgb * np.array(colours.gain, np.float32), 0, BRIGHTEST)
    mesh = ObjectMesh(
        vertices=points.astype(np.float32),
        faces=base.faces[:, order],
        face_albedo=albedo.astype(np.float32),
        corner_normals=-normals if form.mirrored else normals,
        style=style,
        both_sided=base.both_sided,
    )
    if base.corner_uv is None:
        return mesh
    return with_textures(mesh, repainted(base, colours), base.face_texture, base.corner_uv[:, order])


def with_textures(
    mesh: ObjectMesh, textures: tuple[np.ndarray, ...], which: Int[np.ndarray, " F"], uv: Float[np.ndarray, "F 3 2"]
) -> ObjectMesh:
    """The mesh with repeating textures; `which` of them each triangle shows, -1 for none."""
    return replace(mesh, textures=textures, face_texture=which, corner_uv=uv.astype(np.float32), repeats=True)
