"""Everything a finished run knows, and the one function that writes it all.

The canonical maps (depth, albedo, normal, shading) share the canonical frame; image, mask and recon are in the input's
own view. All tensors are single (batch 1) and may be on any device.
"""

import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from gan2shape.core.config import MeshConfig
from gan2shape.core.files import write_arrays_atomic, write_bytes_atomic, write_text_atomic
from gan2shape.core.images import to_uint8, write_png
from gan2shape.core.records import Verdict
from gan2shape.export import pictures
from gan2shape.export.mesh import (
    Mesh,
    canonical_mask,
    height_field_mesh,
    seen_in,
)
from gan2shape.export.mesh_files import glb_bytes, write_further
from gan2shape.export.mesh_open3d import remeshed
from gan2shape.export.photo import Photo, bled

GRID_RESOLUTION = 128  # smaller height fields are refined to about this many vertices in a row


@dataclass(frozen=True)
class Bundle:
    """One reconstruction, ready to be written."""

    category: str
    image: Float[Tensor, "1 3 S S"]  # the input, in [-1, 1]
    mask: Float[Tensor, "1 1 S S"]  # the object in the input, in [0, 1]
    depth: Float[Tensor, "1 1 S S"]  # canonical depth, about 1
    albedo: Float[Tensor, "1 3 S S"]  # canonical, in [-1, 1]
    normal: Float[Tensor, "1 3 S S"]  # canonical, unit length, z < 0 towards the viewer
    shading: Float[Tensor, "1 1 S S"]  # canonical, ambient + diffuse * cosine
    recon: Float[Tensor, "1 3 S S"]  # the scene rendered in the input's view
    view: Float[Tensor, "1 6"]  # of the input: radians and scene units
    light: Float[Tensor, "1 4"]  # of the input: ambient, diffuse, lx, ly in the canonical frame
    latent: Float[Tensor, "1 *L D"] | None = None  # w or W+
    fov_deg: float = 10.0  # field of view
    depth_half_range: float = 0.1  # canonical depth lives in 1 +- this
    strips: dict[str, Float[Tensor, "N 3 S S"]] = field(default_factory=dict)  # e.g. rotate_3d, relight_gan
    strip_labels: dict[str, list[str]] = field(default_factory=dict)  # a caption per image of a strip
    losses: list[dict] = field(default_factory=list)  # {"stage": str, "step": int, "<name>": float}
    timings: dict[str, float] = field(default_factory=dict)  # seconds by part
    figures: dict[str, float] = field(default_factory=dict)  # how well the prior knows the input, by name
    verdict: Verdict | None = None  # whether it knows it
    config_yaml: str = ""  # the whole configuration
    notes: list[str] = field(default_factory=list)  # sentences for the reader
    photo: Photo | None = None  # what `image` shows, at a higher resolution
    mesh: MeshConfig = field(default_factory=MeshConfig)
    confidence: Float[Tensor, "1 1 S S"] | None = None  # of depth, canonical, in [0, 1]; means nothing off the object
    object_view: Float[Tensor, "1 6"] | None = None  # of the object's own frame, in the canonical one

    @cached_property
    def texture(self) -> UInt8[np.ndarray, "P P 3"]:
        """The picture of the photo's mesh: as large as there is one, the object's colours carried on beyond it."""
        return bled(to_uint8(self.image[0]) if self.photo is None else self.photo, self.mask)

    @cached_property
    def albedo_texture(self) -> UInt8[np.ndarray, "S S 3"]:
        """The picture of the lit mesh."""
        return bled(to_uint8(self.albedo[0]), canonical_mask(self.mask, self.depth, self.view, self.fov_deg))


def write_all(bundle: Bundle, out_dir: Path) -> dict[str, Path]:
    """Write every file of a run into `out_dir`; returns short name -> path. Each file appears whole or not at all."""
    from gan2shape.export.report import render_report

    out_dir = Path(out_dir)
    photo, albedo_picture = bundle.texture, bundle.albedo_texture
    photo_mesh, albedo_mesh = meshes(bundle)
    files = {
        "mesh": write_bytes_atomic(
            out_dir / "mesh.glb", glb_bytes(photo_mesh, photo, unlit=True, fov_deg=bundle.fov_deg)
        ),
        "mesh_lit": write_bytes_atomic(
            out_dir / "mesh_lit.glb", glb_bytes(albedo_mesh, albedo_picture, unlit=False, fov_deg=bundle.fov_deg)
        ),
        "depth": write_png(out_dir / "depth.png", pictures.depth_to_uint16(bundle.depth, bundle.depth_half_range)),
    }
    for name, pixels in panels(bundle).items():
        if name != "depth":  # the 16-bit one above is the file; this one is for the report
            files[name] = write_png(out_dir / f"{name}.png", pixels)
    for name, images in bundle.strips.items():
        pixels = pictures.strip(images, bundle.strip_labels.get(name, ()))
        files[f"strip_{name}"] = write_png(out_dir / f"strip_{name}.png", pixels)
    files |= write_further(out_dir, photo_mesh, photo, bundle.mesh.formats)
    files["scene_npz"] = write_scene_npz(out_dir / "scene.npz", bundle)
    files["scene_json"] = write_text_atomic(out_dir / "scene.json", json.dumps(scene_description(bundle), indent=2))
    carried = {files[name].name: files[name].read_bytes() for name in ("mesh", "depth", "scene_json")}
    if bundle.config_yaml:
        files["config"] = write_text_atomic(out_dir / "config.yaml", bundle.config_yaml)
    files["report"] = write_text_atomic(
        out_dir / "report.html", render_report(bundle, photo_mesh, albedo_mesh, carried)
    )
    return files


def write_few(bundle: Bundle, out_dir: Path) -> dict[str, Path]:
    """The shape alone, for many images: mesh, depth, arrays, camera and light, and two pictures for an index."""
    out_dir = Path(out_dir)
    photo_mesh, _ = meshes(bundle)
    glb = glb_bytes(photo_mesh, bundle.texture, unlit=True, fov_deg=bundle.fov_deg)
    normal = pictures.cut_out(pictures.normal_picture(bundle.normal), bundle.mask)
    return {
        **write_further(out_dir, photo_mesh, bundle.texture, bundle.mesh.formats),
        "mesh": write_bytes_atomic(out_dir / "mesh.glb", glb),
        "depth": write_png(out_dir / "depth.png", pictures.depth_to_uint16(bundle.depth, bundle.depth_half_range)),
        "input": write_png(out_dir / "input.png", to_uint8(bundle.image[0])),
        "normal": write_png(out_dir / "normal.png", normal),
        # Compression takes longer than the mesh does, and saves two fifths.
        "scene_npz": write_scene_npz(out_dir / "scene.npz", bundle, compressed=False),
        "scene_json": write_text_atomic(out_dir / "scene.json", json.dumps(scene_description(bundle), indent=2)),
    }


def meshes(bundle: Bundle) -> tuple[Mesh, Mesh]:
    """The object with uv into the photo, and the same surface with uv into the canonical albedo."""
    inside = canonical_mask(bundle.mask, bundle.depth, bundle.view, bundle.fov_deg)
    upsample = max(1, round(GRID_RESOLUTION / bundle.depth.shape[-1]))
    surface = height_field_mesh(
        bundle.depth,
        inside,
        bundle.fov_deg,
        upsample=upsample * 2**bundle.mesh.subdivide,
        back=bundle.mesh.back,
        object_view=bundle.object_view,
    )
    if bundle.mesh.needs_open3d:
        surface = remeshed(surface, bundle.mesh, bundle.fov_deg)
    return seen_in(surface, bundle.view, bundle.fov_deg), surface


def panels(bundle: Bundle) -> dict[str, np.ndarray]:
    """The single pictures, uint8 [S, S, 3], or [S, S, 4] where only the object means something.

    Shading: black is 0, white is the brightest on the object (at least 1).
    """
    brightest = max(1.0, float((bundle.shading * (bundle.mask > 0.5)).max()))
    parts = {
        "depth": pictures.depth_picture(bundle.depth, bundle.mask),
        "normal": pictures.normal_picture(bundle.normal),
        "albedo": to_uint8(bundle.albedo[0]),
        "shading": pictures.grey_picture(bundle.shading, 0.0, brightest),
    }
    if bundle.confidence is not None:
        parts["confidence"] = pictures.confidence_picture(bundle.confidence)
    return {
        "input": to_uint8(bundle.image[0]),
        "recon": to_uint8(bundle.recon[0]),
        **{name: pictures.cut_out(pixels, bundle.mask) for name, pixels in parts.items()},
        "mask": pictures.grey_picture(bundle.mask, 0.0, 1.0),
    }


def write_scene_npz(path: Path, bundle: Bundle, compressed: bool = True) -> Path:
    """All arrays in float32 (no pickles: `numpy.load(path)` reads it)."""
    names = ("image", "mask", "depth", "albedo", "normal", "shading", "recon", "view", "light", "latent",
             "confidence")  # fmt: skip
    tensors = {name: getattr(bundle, name) for name in names}
    arrays = {name: value.detach().float().cpu().numpy() for name, value in tensors.items() if value is not None}
    scalars = {"fov_deg": np.float32(bundle.fov_deg), "depth_half_range": np.float32(bundle.depth_half_range)}
    return write_arrays_atomic(Path(path), {**arrays, **scalars}, compressed)


def scene_description(bundle: Bundle) -> dict:
    """Camera, view, light and the conventions, for `scene.json`."""
    size = bundle.depth.shape[-1]
    focal = size / 2 / math.tan(math.radians(bundle.fov_deg) / 2)
    view, light = bundle.view[0].cpu().double().tolist(), bundle.light[0].cpu().double().tolist()
    towards = np.array([light[2], light[3], -1.0]) / math.hypot(light[2], light[3], 1.0)
    angles = dict(zip(("pitch", "yaw", "roll"), view[:3], strict=True))
    return {
        "category": bundle.category,
        "camera": {
            "fov_deg": bundle.fov_deg,
            "size_px": size,
            "focal_px": focal,
            "principal_point_px": [size / 2, size / 2],
            "gltf": {
                "position": [0.0, 0.0, 1.0],
                "looks_along": [0.0, 0.0, -1.0],
                "yfov_rad": math.radians(bundle.fov_deg),
            },
        },
        "view": {
            **{f"{name}_rad": value for name, value in angles.items()},
            **{f"{name}_deg": math.degrees(value) for name, value in angles.items()},
            "tx": view[3],
            "ty": view[4],
            "tz": view[5],
        },
        "light": {
            "ambient": light[0],
            "diffuse": light[1],
            "lx": light[2],
            "ly": light[3],
            "direction_camera_axes": towards.tolist(),
            "direction_gltf": [towards[0], -towards[1], -towards[2]],
            "azimuth_deg": math.degrees(math.atan2(towards[0], -towards[2])),
            "elevation_deg": math.degrees(math.asin(-towards[1])),
        },
        "depth_png": {"near": 1 - bundle.depth_half_range, "far": 1 + bundle.depth_half_range, "bits": 16},
        "conventions": [
            "Camera frame: x right, y down, z forward; pixel centres at i + 0.5.",
            "depth.png: z = near + value / 65535 * (far - near), canonical frame, which is nearly the input's own.",
            "view moves the object: x' = R (x - c) + c + t, R = Rz(roll) Ry(yaw) Rx(pitch), c = (0, 0, 1).",
            "Positive yaw brings the image-right side nearer, positive pitch the top, positive roll rotates clockwise.",
            "light: shading = ambient + diffuse * max(0, n . l); l = (lx, ly, -1) / norm points to the light in the "
            "canonical frame; ly < 0 is a light above.",
            "Image = albedo * shading on values in [0, 1] as stored (gamma-encoded).",
            "Meshes: +Y up, +Z towards the viewer, point (x, y, z) of the canonical camera frame at (x, -y, 1 - z).",
            "Scale: the camera is at distance 1 from the meshes' origin, and the image is 2 tan(fov / 2) wide there.",
        ],
        "latent": None if bundle.latent is None else "scene.npz, array latent (w or W+)",
        "figures": bundle.figures,
        "verdict": bundle.verdict and {"level": bundle.verdict.level, "sentence": bundle.verdict.sentence},
        "notes": list(bundle.notes),
    }
