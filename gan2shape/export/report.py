"""One self-contained page about a run: pictures, a small 3D viewer, losses, configuration. No external address."""

import base64
import io
import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from gan2shape.core.images import to_uint8
from gan2shape.core.resources import viz_dir
from gan2shape.export import charts, pictures
from gan2shape.export.mesh import Mesh, vertex_normals
from gan2shape.export.page import render_page

if TYPE_CHECKING:
    from gan2shape.export.bundle import Bundle

MAX_TEXTURE, SMALL_TEXTURE = 1024, 256  # of the page's mesh, pixels; the files beside it carry all
WARNING = "Warning: "  # how the sentence begins that says not to trust the shape
CAPTIONS = {  # of each picture: its name, and what it shows in plain words
    "depth": ("Depth", "How far away each point is. Bright is near."),
    "normal": ("Normals", "Which way the surface faces: red to the right, green up, blue towards you."),
    "albedo": ("Own colour", "The object's paint or skin (albedo), with light and shadow taken out."),
    "shading": ("Shading", "Light and shadow alone. Own colour times shading is the image."),
    "confidence": (
        "Confidence",
        "Where depth can be trusted: blue is sure, red is not. Between them lies the usual error of such objects.",
    ),
    "mask": ("Mask", "White is what was taken for the object."),
}
AFTERS = {"recon": "drawn again", "normal": "normals", "shading": "shading"}  # what the input is compared with
STRIP_TITLES = {
    "rotate_3d": "Rotated: the shape itself",
    "rotate_gan": "Rotated: by the generator",
    "relight_3d": "Relit: the shape itself",
    "relight_gan": "Relit: by the generator",
}
STRIP_HINTS = {
    "rotate_3d": "The recovered shape, drawn from other sides (effect-3D). What the image does not show is stretched.",
    "relight_3d": "The recovered shape under other lights, from the left to the right (effect-3D).",
    "rotate_gan": "The nearest images that the generator can make to the row above (effect-GAN). It fills in what the "
    "image does not show, and may change details.",
    "relight_gan": "The nearest images that the generator can make to the row above (effect-GAN).",
}
VERDICTS = {  # by level: how the sentence is headed
    "inside": "The prior knows such images.",
    "edge": "At the edge of what the prior knows.",
    "outside": "Do not trust this shape.",
}
DOWNLOADS = {  # files that the page carries itself, so that it can be sent alone
    "mesh.glb": ("model/gltf-binary", "the shape with the photo on it, for any 3D program"),
    "depth.png": ("image/png", "depth in 16 bits"),
    "scene.json": ("application/json", "camera, view and light"),
}
LEAST_SHOWN_DEG = 0.05  # of the input's view: usually it is zero
MOST_DOWNLOAD_BYTES = 900_000  # of one file: the page stays below 3 MB


def render_report(
    bundle: "Bundle", photo_mesh: Mesh, albedo_mesh: Mesh, files: Mapping[str, bytes] = MappingProxyType({})
) -> str:
    """The page as text. `files`: by name, those that the page offers; large ones are left out.

    Raises nothing of its own: empty strips, losses or timings leave their sections out.
    """
    from markupsafe import Markup

    from gan2shape.export.bundle import panels

    shown = {name: data_uri(pixels) for name, pixels in panels(bundle).items()}
    return render_page(
        "report.html.j2",
        category=bundle.category,
        verdict=verdict_on(bundle),
        before={"uri": shown["input"], "alt": "The image as it was used"},
        afters=[{"name": name, "uri": shown[panel], "alt": f"The same, {name}"} for panel, name in AFTERS.items()],
        panels=[
            {"uri": shown[name], "caption": caption, "hint": hint}
            for name, (caption, hint) in CAPTIONS.items()
            if name in shown
        ],
        strips=[_strip(bundle, name) for name in bundle.strips],
        facts=facts(bundle),
        downloads=downloads(files),
        notes=[note for note in bundle.notes if bundle.verdict is None or note != bundle.verdict.sentence],
        charts=[
            {"title": stage or "losses", "svg": Markup(charts.line_chart(lines, stage))}
            for stage, lines in charts.curves(bundle.losses)
            if lines
        ],
        timings=[{"name": name, "seconds": f"{seconds:.1f}"} for name, seconds in with_total(bundle.timings).items()],
        config_yaml=bundle.config_yaml,
        viewer_script=Markup((viz_dir() / "viewer.js").read_text(encoding="utf-8")),
        viewer_data=Markup(viewer_json(bundle, photo_mesh, albedo_mesh)),
        fallback_uri=shown["recon"],
    )


def verdict_on(bundle: "Bundle") -> dict[str, str] | None:
    """Whether the shape can be trusted, for the head of the page; None for samples and latents."""
    if bundle.verdict is None:
        return None
    level, sentence = bundle.verdict.level, bundle.verdict.sentence.removeprefix(WARNING)
    return {"level": level, "title": VERDICTS[level], "sentence": sentence[:1].upper() + sentence[1:]}


def downloads(files: Mapping[str, bytes]) -> list[dict]:
    """Links to a run's files, which the page carries as far as they are small; others lie beside it."""
    found = []
    for name, (kind, hint) in DOWNLOADS.items():
        is_small = name in files and len(files[name]) <= MOST_DOWNLOAD_BYTES
        uri, where = (_data(files[name], kind), "") if is_small else (name, "; large, so it lies beside this page")
        found += [{"name": name, "hint": hint + where, "uri": uri}] if name in files else []
    return found


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def data_uri(pixels: np.ndarray) -> str:
    """A PNG as a `data:` address."""
    return _data(pictures.png_bytes(pixels), "image/png")


def texture_uri(pixels: np.ndarray) -> str:
    """A texture as a `data:` address: as PNG where it is small, else reduced to `MAX_TEXTURE` pixels, as JPEG."""
    from PIL import Image

    if pixels.shape[0] <= SMALL_TEXTURE:
        return data_uri(pixels)
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((MAX_TEXTURE, MAX_TEXTURE))
    image.save(buffer, format="JPEG", quality=90)
    return _data(buffer.getvalue(), "image/jpeg")


def with_total(timings: dict[str, float]) -> dict[str, float]:
    """The parts with their sum as the last row, unless a total was measured."""
    parts = {name: seconds for name, seconds in timings.items() if name != "total"}
    return {**parts, "total": timings.get("total", sum(parts.values()))} if parts else {}


def facts(bundle: "Bundle") -> list[dict]:
    """The numbers at the head of the page: name, value, hint."""
    angles = zip(("pitch", "yaw", "roll"), bundle.view[0, :3].tolist(), strict=True)
    degrees = {name: math.degrees(angle) for name, angle in angles}
    ambient, diffuse, lx, ly = bundle.light[0].tolist()
    psnr = bundle.figures.get("inversion_psnr_db")
    azimuth, elevation = math.degrees(math.atan2(lx, 1)), math.degrees(math.atan2(-ly, math.hypot(lx, 1)))
    sides = "right" if azimuth >= 0 else "left", "above" if elevation >= 0 else "below"
    found = {
        "light": (f"{abs(azimuth):.0f}° {sides[0]}, {abs(elevation):.0f}° {sides[1]}", "seen from the camera"),
        "ambient / diffuse": (f"{ambient:.2f} / {diffuse:.2f}", "light from everywhere, and from there"),
    }
    if any(abs(angle) >= LEAST_SHOWN_DEG for angle in degrees.values()):
        value = " / ".join(f"{angle:+.1f}°" for angle in degrees.values())
        found = {" / ".join(degrees): (value, "how the input is rotated against the canonical frame"), **found}
    if psnr is not None:
        found["inversion"] = (f"{psnr:.1f} dB", "how near the generator comes to the object")
    return [{"name": name, "value": value, "hint": hint} for name, (value, hint) in found.items()]


def viewer_json(bundle: "Bundle", photo_mesh: Mesh, albedo_mesh: Mesh) -> str:
    """Geometry and textures for `viewer.js`: little-endian arrays in base64. Both meshes share vertices and faces."""
    wide = len(photo_mesh.vertices) > 65535
    light = bundle.light[0].cpu().double().tolist()
    payload = {
        "positions": _base64(photo_mesh.vertices, "<f4"),
        "normals": _base64(vertex_normals(photo_mesh), "<f4"),
        "uvPhoto": _base64(photo_mesh.uv, "<f4"),
        "uvAlbedo": _base64(albedo_mesh.uv, "<f4"),
        "faces": _base64(photo_mesh.faces, "<u4" if wide else "<u2"),
        "wide": wide,
        "photo": texture_uri(bundle.texture),
        "albedo": texture_uri(bundle.albedo_texture),
        # glTF axes: the light's direction (lx, ly, -1) becomes (lx, -ly, 1).
        "light": {"ambient": light[0], "diffuse": light[1], "direction": [light[2], -light[3], 1.0]},
    }
    return json.dumps(payload).replace("</", "<\\/")


def _strip(bundle: "Bundle", name: str) -> dict:
    labels = bundle.strip_labels.get(name, [])
    tiles = [to_uint8(image) for image in bundle.strips[name]]  # the page scales them
    captions = labels or [""] * len(tiles)
    return {
        "title": STRIP_TITLES.get(name, name.replace("_", " ")),
        "hint": STRIP_HINTS.get(name, ""),
        "tiles": [{"uri": data_uri(tile), "caption": text} for tile, text in zip(tiles, captions, strict=True)],
    }


def _base64(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array).astype(dtype).tobytes()).decode("ascii")
