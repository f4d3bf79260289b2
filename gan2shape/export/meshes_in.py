"""Meshes from files of any origin (GLB, glTF, OBJ, PLY, STL, OFF), as arrays by material.

Colours are taken as stored: factors and vertex colours are not converted, since files disagree about what they mean.
A part without colour or with a texture that cannot be read is grey, and a note says so. Parts that are less than half
opaque as a whole (panes of glass) are left out.
"""

import logging
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from gan2shape.core.errors import UserError
from gan2shape.core.records import LooseMesh, MeshPart

SUFFIXES = ".glb", ".gltf", ".obj", ".ply", ".stl", ".off"
GREY = 0.6  # albedo where a file has none
MAX_TEXTURE = 1024  # pixels; larger ones are reduced


def read_meshes(path: Path) -> list[LooseMesh]:
    """The mesh at `path`, or those of a folder by name. Raises UserError where there is none that can be rendered."""
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not files:
            raise UserError(f"the folder {path} holds no mesh: give one with {', '.join(SUFFIXES)} files.")
        return [read_mesh(file) for file in files]
    if not path.is_file():
        raise UserError(f"there is no mesh {path}: give a file or a folder of files.")
    return [read_mesh(path)]


def read_mesh(path: Path) -> LooseMesh:
    """One file. Raises UserError where it cannot be read, has no faces, or has a coordinate that is no number."""
    geometries = _geometries(Path(path))
    notes: set[str] = set()
    parts = [part for geometry in geometries if (part := _part(geometry, notes)) is not None]
    if not parts:
        raise UserError(f"the mesh {path} has no faces that can be seen: export it as triangles.")
    used = np.concatenate([part.vertices[part.faces.reshape(-1)] for part in parts])
    if not np.isfinite(used).all():
        raise UserError(f"the mesh {path} has coordinates that are not numbers: repair it first.")
    if (used.max(0) - used.min(0)).max() <= 0:
        raise UserError(f"the mesh {path} has no extent: all its faces lie in one point.")
    return LooseMesh(Path(path).stem, tuple(parts), tuple(f"{Path(path).name}: {note}" for note in sorted(notes)))


def _geometries(path: Path) -> list:
    """The file's triangle meshes, moved to where its scene puts them."""
    import trimesh

    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} is no mesh that can be read: give one of {', '.join(SUFFIXES)}.")
    if path.stat().st_size == 0:
        raise UserError(f"the mesh {path} is empty.")
    try:
        with _without_chatter():
            scene = trimesh.load_scene(path, process=False)
            found = scene.dump()
    except Exception as error:  # trimesh's readers raise whatever the broken file leads them into
        raise UserError(f"the mesh {path} cannot be read: {' '.join(str(error).split()) or 'it is broken'}.") from error
    return [geometry for geometry in found if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces)]


@contextmanager
def _without_chatter():
    """trimesh logs what it cannot read; here it becomes a note or a sentence."""
    logger = logging.getLogger("trimesh")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _part(geometry, notes: set[str]) -> MeshPart | None:
    """One triangle mesh as arrays; None where it is see-through. Adds to `notes` what is missing."""
    faces = np.asarray(geometry.faces, np.int64)
    vertices = np.asarray(geometry.vertices, np.float64)
    visual = geometry.visual
    if visual.kind == "texture":
        return _with_material(vertices, faces, visual, notes)
    alpha = np.ones(len(faces))
    if visual.kind == "vertex":
        rgba = np.asarray(visual.vertex_colors, np.float64)[faces] / 255
        rgb, alpha = rgba[..., :3], rgba[..., 3].mean(1)
    elif visual.kind == "face":
        rgba = np.asarray(visual.face_colors, np.float64) / 255
        rgb, alpha = np.repeat(rgba[:, None, :3], 3, 1), rgba[:, 3]
    else:
        rgb = np.full((len(faces), 3, 3), GREY)
        notes.add("a part without colour is grey")
    kept = alpha >= 0.5
    return MeshPart(vertices, faces[kept], rgb[kept]) if kept.any() else None


def _with_material(vertices, faces, visual, notes: set[str]) -> MeshPart | None:
    material, uv = visual.material, visual.uv
    of_obj = hasattr(material, "to_pbr")
    if of_obj:
        material = material.to_pbr()
    picture = getattr(material, "baseColorTexture", None)
    factor = getattr(material, "baseColorFactor", None)
    if of_obj and picture is None and uv is not None and np.ptp(uv) > 0:
        factor = None  # coordinates into a picture that is not there; the colour is the reader's own
    mode = (getattr(material, "alphaMode", None) or "OPAQUE").upper()
    rgba = np.ones(4) if factor is None else _unit(factor)
    both_sided = bool(getattr(material, "doubleSided", False))
    if mode != "OPAQUE" and rgba[3] < 0.5:
        return None
    texture = None
    if picture is not None and uv is not None:
        cutoff = getattr(material, "alphaCutoff", None) if mode == "MASK" else None
        texture = _pixels(picture, mode, 0.5 if cutoff is None else float(cutoff))
    if texture is None and (picture is not None or factor is None):
        notes.add("a part whose texture is missing is grey")
        rgba = np.array([GREY] * 3 + [1.0])
    rgb = np.broadcast_to(rgba[:3], (len(faces), 3, 3))
    if texture is None:
        return MeshPart(vertices, faces, rgb, both_sided=both_sided)
    corner_uv = np.asarray(uv, np.float64)[faces] * [1, -1] + [0, 1]
    return MeshPart(vertices, faces, rgb, texture, np.nan_to_num(corner_uv), both_sided)


def _unit(factor) -> Float[np.ndarray, "4"]:
    """A colour factor (0 ... 255 where it is whole numbers) as four numbers in [0, 1]."""
    values = np.asarray(factor)
    scaled = values.astype(np.float64) / (255 if values.dtype.kind in "ui" else 1)
    return np.clip(np.append(scaled, 1.0)[:4], 0, 1)


def _pixels(picture, mode: str, cutoff: float) -> UInt8[np.ndarray, "h w c"] | None:
    """The texture, its alpha hard where the file says where to cut; None where it cannot be decoded."""
    try:
        if max(picture.size) > MAX_TEXTURE:
            picture = picture.copy()
            picture.thumbnail((MAX_TEXTURE, MAX_TEXTURE))
        pixels = np.asarray(picture.convert("RGB" if mode == "OPAQUE" else "RGBA"))
    except (OSError, ValueError, SyntaxError, AttributeError):
        return None
    if mode == "MASK":
        hard = np.where(pixels[..., 3] >= 255 * cutoff, 255, 0).astype(np.uint8)
        pixels = np.dstack([pixels[..., :3], hard])
    return pixels
