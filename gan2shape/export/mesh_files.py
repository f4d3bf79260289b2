"""Mesh files: GLB, OBJ with its material and texture, PLY, STL. All in the glTF frame and in scene units."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gan2shape.core.files import write_bytes_atomic, write_text_atomic
from gan2shape.core.images import write_png
from gan2shape.export.glb import textured_glb
from gan2shape.export.mesh import Mesh, vertex_normals
from gan2shape.scene.camera import DEFAULT_FOV_DEG

FORMATS = ("obj", "ply", "stl")  # besides GLB


def glb_bytes(
    mesh: Mesh, texture: UInt8[np.ndarray, "H W 3"], *, unlit: bool, fov_deg: float = DEFAULT_FOV_DEG
) -> bytes:
    """A GLB with one textured, double-sided mesh and the camera that took the picture.

    unlit: KHR_materials_unlit (a photo has its light in it); else metallic 0, roughness 1.
    """
    if texture.dtype != np.uint8 or texture.ndim != 3 or texture.shape[2] != 3:
        raise ValueError(f"texture must be uint8 [H, W, 3], not {texture.dtype} {texture.shape}")
    parts = (mesh.vertices, mesh.faces, vertex_normals(mesh), mesh.uv, texture)
    return textured_glb(*parts, "photo" if unlit else "albedo", unlit=unlit, fov_deg=fov_deg)


def write_glb(path: Path, mesh: Mesh, texture: np.ndarray, *, unlit: bool, fov_deg: float = DEFAULT_FOV_DEG) -> Path:
    """`glb_bytes` at `path`, atomically."""
    return write_bytes_atomic(Path(path), glb_bytes(mesh, texture, unlit=unlit, fov_deg=fov_deg))


def write_further(
    folder: Path, mesh: Mesh, texture: UInt8[np.ndarray, "H W 3"], formats: tuple[str, ...]
) -> dict[str, Path]:
    """`mesh.obj` (with `mesh.mtl` and `mesh.png`), `mesh.ply`, `mesh.stl`, as far as they are in `formats`; returns
    short name -> path.
    """
    files = {}
    if "obj" in formats:
        files["mesh_texture"] = write_png(folder / "mesh.png", texture)
        files["mesh_material"] = write_text_atomic(folder / "mesh.mtl", MATERIAL)
        files["mesh_obj"] = write_text_atomic(folder / "mesh.obj", obj_text(mesh))
    if "ply" in formats:
        files["mesh_ply"] = write_bytes_atomic(folder / "mesh.ply", ply_bytes(mesh, texture))
    if "stl" in formats:
        files["mesh_stl"] = write_bytes_atomic(folder / "mesh.stl", stl_bytes(mesh))
    return files


# Ka 0: a photo has its light in it, and viewers that shade OBJ files do so with Kd.
MATERIAL = "newmtl photo\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd mesh.png\n"


def obj_text(mesh: Mesh) -> str:
    """Wavefront OBJ with texture coordinates and normals; its material is `mesh.mtl`."""
    number = np.arange(1, len(mesh.vertices) + 1)[mesh.faces]
    corners = number[:, [0, 0, 0, 1, 1, 1, 2, 2, 2]]
    lines = io.StringIO()
    lines.write("mtllib mesh.mtl\no object\n")
    for key, values in (("v", mesh.vertices), ("vt", mesh.uv), ("vn", vertex_normals(mesh))):
        np.savetxt(lines, values, fmt=" ".join([key] + ["%.7g"] * values.shape[1]))
    lines.write("usemtl photo\n")
    np.savetxt(lines, corners, fmt="f %d/%d/%d %d/%d/%d %d/%d/%d")
    return lines.getvalue()


def ply_bytes(mesh: Mesh, texture: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Binary PLY with the texture's colour at each vertex."""
    import trimesh

    height, width = texture.shape[:2]
    column = (mesh.uv[:, 0] * width).astype(int).clip(0, width - 1)
    row = ((1 - mesh.uv[:, 1]) * height).astype(int).clip(0, height - 1)
    colours = np.concatenate([texture[row, column], np.full((len(row), 1), 255, np.uint8)], 1)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colours, process=False)
    return solid.export(file_type="ply", vertex_normal=False)


def stl_bytes(mesh: Mesh) -> bytes:
    """Binary STL: the form alone."""
    import trimesh

    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(file_type="stl")
